"""Fetches Kafka: the jars that pom.xml lists, with Maven, into .tools/kafka of the checkout."""
import hashlib
import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / ".tools" / "kafka"
LIBRARIES = FOLDER / "libraries"
TRIES = 3


def are_there():
    """Whether what this pom.xml lists was fetched whole."""
    kept = FOLDER / "pom.sha256"
    return kept.exists() and kept.read_text() == wanted() and LIBRARIES.is_dir()


def wanted():
    return hashlib.sha256((HERE / "pom.xml").read_bytes()).hexdigest()


def get(say=lambda text: print(text, file=sys.stderr, flush=True)):
    """Fetches the jars unless they are there, and gives their folder."""
    if are_there():
        return LIBRARIES
    if not shutil.which("mvn"):
        sys.exit("Maven is needed to fetch Kafka: `bash deploy/setup --cluster` installs it")
    FOLDER.mkdir(parents=True, exist_ok=True)
    part, log = FOLDER / "part", FOLDER / "get.log"
    command = ["mvn", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies", "-DincludeScope=runtime",
               f"-DoutputDirectory={part}"]
    say("fetching Kafka (45 MB of jars, once)")
    for attempt in range(TRIES):
        shutil.rmtree(part, ignore_errors=True)
        with open(log, "wb") as told:
            if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told).returncode == 0:
                break
        if attempt + 1 == TRIES:
            sys.exit(f"Kafka cannot be fetched; {log} ends so:\n" + log.read_text(errors="replace")[-2000:])
        time.sleep(2)
    # The sum is written last: without it, what is there is taken for a torso.
    (FOLDER / "pom.sha256").unlink(missing_ok=True)
    shutil.rmtree(LIBRARIES, ignore_errors=True)
    part.rename(LIBRARIES)
    (FOLDER / "pom.sha256").write_text(wanted())
    return LIBRARIES
