#!/usr/bin/env python3
"""Measures the source code's structure and fails when a figure is worse than the committed baseline.

    ratchet.py            prints the figures beside the baseline, fails when one is worse
    ratchet.py --write    lowers the baseline to today's figures; one that got worse keeps its limit, and fails
    ratchet.py --list X   names the places behind a figure, for example `--list function_lines_max`

Tests, examples and build scripts are left out. An import counts for the file that defines the imported
item, also when another file re-exports the item. A circle is a set of files of one crate that import each
other.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BASELINE = ROOT / ".ci" / "ratchet.json"
ITEM = re.compile(r"^[ ]*(pub(?:\([^)]*\))? +)?(?:(?:async|unsafe|const|default|extern) +)*(fn|struct|enum|trait|type|const|static|mod|union)\s+(\w+)")
# A doc comment that begins so does not name its subject.
PRONOUN = re.compile(r"(It|Its|What|Whatever|Whether|Who|Whoever|Whose|That|So|They|This)\b")
CONTRACT = re.compile(r"\b(err|error|fail|panic|cancel|durab|order|concurren|idempot|must|never|only|unless|caller|retr|safe|lock|before|after)", re.I)
SUBJECT = re.compile(r"[a-z][\w./, -]*: [a-z0-9`]")
# Functions that tell one straight story, a case for each kind of record, file or operation: splitting would scatter it.
STRAIGHT = {
    "compactor/src/catalog.rs": {"decode"},
    "ingest/src/log/embedded/recovery.rs": {"recover"},
    "ingest/src/log/embedded/verify.rs": {"verify_once"},
    "compactor/src/manifest/writer.rs": {"record_batch"},
    "compactor/src/manifest/rows.rs": {"rows"},
    "gateway/src/api/dispatch.rs": {"dispatch"},
}


def blank(text):
    """Code with comments and the content of strings replaced by spaces; every line keeps its length."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\.[^\']*|[^\'\\])\'', re.S)
    return pattern.sub(lambda found: re.sub(r"[^\n]", " ", found.group()), text)


def without_tests(text, code):
    """Blanks modules that are compiled for tests only."""
    for found in list(re.finditer(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*mod \w+ \{", code)):
        end = close(code, found.end() - 1)
        cut = lambda whole: whole[: found.start()] + re.sub(r"[^\n]", " ", whole[found.start() : end]) + whole[end:]
        text, code = cut(text), cut(code)
    return text, code


def close(code, opening):
    """The place behind the brace that closes the one at `opening`."""
    depth = 0
    for brace in re.compile(r"[{}]").finditer(code, opening):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return brace.end()
    return len(code)


class File:
    def __init__(self, path):
        self.path = path
        self.text = (ROOT / path).read_text()
        self.text, self.code = without_tests(self.text, blank(self.text))
        self.lines, self.code_lines = self.text.split("\n"), self.code.split("\n")
        self.items = {}  # name -> kind, at the top of the file
        self.exports = {}  # name -> path that it is an alias for
        self.imports = []  # paths
        for line in self.code_lines:
            item = ITEM.match(line)
            if item and not line.startswith(" "):
                self.items[item.group(3)] = (item.group(2), bool(item.group(1)))
        for found in re.finditer(r"^\s*(?:pub(?:\([^)]*\))? )?use ([^;]+);", self.code, re.M):
            is_public = found.group().lstrip().startswith("pub")
            for path, name in leaves(re.sub(r"\s+", " ", found.group(1))):
                # A re-export that the file does not use itself is a name for others.
                if not is_public or len(re.findall(rf"\b{name}\b", self.code)) > 1:
                    self.imports.append(path)
                if not self.code[found.start() :].lstrip("\n").startswith(" "):
                    self.exports[name] = path
        body = re.sub(r"^\s*(?:pub(?:\([^)]*\))? )?use [^;]+;", "", self.code, flags=re.M)
        self.imports += [path.split("::") for path in re.findall(r"\b((?:crate|super|self)(?:::\w+)+)", body)]
        self.imports += [path.split("::") for path in re.findall(r"(?<![\w:])([a-z]\w*(?:::\w+)+)", body)]

    def functions(self):
        for found in re.finditer(r"^[ ]*(?:pub(?:\([^)]*\))? +)?(?:(?:async|unsafe|const|extern) +)*fn (\w+)", self.code, re.M):
            opening = re.compile(r"[{;]").search(self.code, found.end())
            if opening and opening.group() == "{":
                lines = self.code.count("\n", found.start(), close(self.code, opening.start())) + 1
                yield found.group(1), lines

    def docs(self):
        """Public and private items with their doc comments: kind, name, public, text, line."""
        doc = []
        for number, line in enumerate(self.lines, 1):
            stripped = line.strip()
            if stripped.startswith("///"):
                doc.append(stripped[3:].strip())
                continue
            if stripped.startswith("#[") or not stripped:
                if not stripped:
                    doc = []
                continue
            item = ITEM.match(self.code_lines[number - 1])
            if item:
                yield item.group(2), item.group(3), bool(item.group(1)), " ".join(doc), number
            elif doc:
                yield "member", stripped, False, " ".join(doc), number
            doc = []


def leaves(tree, prefix=()):
    """The paths of a `use`, each with the name that it gives."""
    tree = tree.strip()
    brace = tree.find("{")
    if brace < 0:
        path, _, alias = tree.partition(" as ")
        path = prefix + tuple(path.strip().split("::"))
        if path[-1] == "self":
            path = path[:-1]
        yield list(path), alias.strip() or path[-1]
        return
    prefix += tuple(part for part in tree[:brace].strip().split("::") if part)
    depth, start, inner = 0, 0, tree[brace + 1 : tree.rfind("}")]
    for at, letter in enumerate(inner + ","):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            if inner[start:at].strip():
                yield from leaves(inner[start:at], prefix)
            start = at + 1


class Crate:
    def __init__(self, folder):
        self.folder = folder
        self.files = {}
        for path in sorted((ROOT / folder / "src").rglob("*.rs")):
            relative = path.relative_to(ROOT)
            module = path.relative_to(ROOT / folder / "src").with_suffix("").parts
            if module[-1] in ("main", "lib", "mod"):
                module = module[:-1]
            if "tests" not in module and not (module and module[-1].endswith("tests")):
                self.files.setdefault(module, File(str(relative)))

    def owner(self, module, path, depth=0):
        """The file that defines what `path` names in `module`; None for what other crates define."""
        if depth > 8:
            return None
        path = list(path)
        if path[0] == "crate":
            module, path = (), path[1:]
        elif path[0] in ("self", "super"):
            while path and path[0] in ("self", "super"):
                module, path = (module[:-1] if path[0] == "super" else module), path[1:]
        elif (*module, path[0]) not in self.files:
            file = self.files.get(module)
            alias = file.exports.get(path[0]) if file else None
            if alias and alias[0] != path[0]:
                return self.owner(module, [*alias, *path[1:]], depth + 1)
            return None
        while path and (*module, path[0]) in self.files:
            module, path = (*module, path[0]), path[1:]
        file = self.files.get(module)
        if file and path and path[0] not in file.items and path[0] in file.exports:
            return self.owner(module, [*file.exports[path[0]], *path[1:]], depth + 1)
        return file

    def arrows(self):
        arrows = {file.path: set() for file in self.files.values()}
        for module, file in self.files.items():
            for path in file.imports:
                if path and (owner := self.owner(module, path)) and owner is not file:
                    arrows[file.path].add(owner.path)
        return arrows

    def circles(self):
        """Strongly connected files, by Tarjan's algorithm."""
        arrows, index, low, stack, found = self.arrows(), {}, {}, [], []

        def visit(node):
            index[node] = low[node] = len(index)
            stack.append(node)
            for other in arrows[node]:
                if other not in index:
                    visit(other)
                    low[node] = min(low[node], low[other])
                elif other in stack:
                    low[node] = min(low[node], index[other])
            if low[node] == index[node]:
                circle = [stack.pop()]
                while circle[-1] != node:
                    circle.append(stack.pop())
                if len(circle) > 1:
                    found.append(sorted(circle))

        for node in arrows:
            if node not in index:
                visit(node)
        return found


def measure():
    tracked = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    crates = [Crate(str(pathlib.Path(path).parent)) for path in tracked if path.endswith("/Cargo.toml")]
    files = [file for crate in crates for file in crate.files.values()]
    figures, places = {}, {}

    def figure(name, value, where=()):
        figures[name], places[name] = value, list(where)

    sizes = sorted(((len(file.lines), file.path) for file in files), reverse=True)
    figure("file_lines_max", sizes[0][0], [f"{lines} {path}" for lines, path in sizes if lines > 600])
    figure("files_above_600", sum(lines > 600 for lines, _ in sizes), [f"{lines} {path}" for lines, path in sizes if lines > 600])
    functions = [(lines, file.path, name) for file in files for name, lines in file.functions()]
    long = sorted(((lines, path, name) for lines, path, name in functions if lines > 60 and name not in STRAIGHT.get(path, ())), reverse=True)
    figure("function_lines_max", max(lines for lines, path, name in functions if name not in STRAIGHT.get(path, ())), [f"{lines} {path} {name}" for lines, path, name in long])
    figure("functions_above_60", len(long), [f"{lines} {path} {name}" for lines, path, name in long])
    for crate in crates:
        circles = crate.circles()
        figure(f"circle_max {crate.folder}", max((len(circle) for circle in circles), default=1), [" <-> ".join(circle) for circle in circles])
    doubles = []
    for crate in crates:
        seen = {}
        for file in crate.files.values():
            for name, (kind, public) in file.items.items():
                if kind in ("struct", "enum", "trait", "type", "union"):
                    seen.setdefault(name, []).append((public, file.path))
        for name, where in sorted(seen.items()):
            if len(where) > 1 and any(public for public, _ in where):
                doubles.append(f"{name}: " + ", ".join(path for _, path in where))
    figure("type_names_twice", len(doubles), doubles)
    docs = [(file.path, *doc) for file in files for doc in file.docs()]
    public = [doc for doc in docs if doc[3] and doc[1] != "mod"]
    bare = [f"{path}:{line} {name}" for path, _, name, _, text, line in public if not text]
    figure("public_documented_percent", round(100 - 100 * len(bare) / len(public), 1), bare)
    written = [doc for doc in docs if doc[4]]
    vague = [f"{path}:{line} {text[:60]}" for path, _, _, _, text, line in written if PRONOUN.match(text)]
    figure("docs_from_pronoun_percent", round(100 * len(vague) / len(written), 1), vague)
    functions = [doc for doc in public if doc[1] == "fn" and doc[4]]
    figure("function_doc_words_median", statistics.median(len(doc[4].split()) for doc in functions), [f"{doc[0]}:{doc[5]} {doc[4]}" for doc in functions if len(doc[4].split()) <= 4])
    contract = [doc for doc in functions if CONTRACT.search(doc[4])]
    figure("function_docs_with_contract_percent", round(100 * len(contract) / len(functions), 1))
    words = {}
    everything = "".join((ROOT / path).read_text() for path in tracked if path.endswith(".rs"))
    # A string may format an item by its name.
    for word in re.findall(r"\w+", re.sub(r"//[^\n]*", "", everything)):
        words[word] = words.get(word, 0) + 1
    dead = [f"{path}:{line} {name}" for path, kind, name, _, _, line in public if words.get(name, 0) <= 1 and kind != "mod"]
    figure("dead_public_items", len(dead), dead)
    return figures, places


def subjects(since):
    """Subjects of the commits since `since` that are not `area: imperative`, or are too long."""
    log = subprocess.run(["git", "log", "--no-merges", "--format=%s", f"{since}..HEAD"], cwd=ROOT, capture_output=True, text=True)
    if log.returncode:
        return []  # a shallow clone does not have them
    return [subject for subject in log.stdout.splitlines() if len(subject) > 72 or not SUBJECT.match(subject)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--list", metavar="FIGURE")
    options = parser.parse_args()
    figures, places = measure()
    if options.list:
        print("\n".join(places[options.list]))
        return 0
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else {"commits_since": "HEAD", "figures": {}}
    limits, worse = {}, 0
    for name, value in figures.items():
        limit = baseline["figures"].get(name, value)
        more_is_better = name.startswith(("public_documented", "function_doc"))
        is_worse = value < limit if more_is_better else value > limit
        limits[name] = limit if is_worse else value
        worse += is_worse
        print(f"{name:45} {value:>8} {limit:>8}{'  WORSE' if is_worse else ''}")
        if is_worse:
            print("\n".join(f"    {place}" for place in places[name][:20]))
    if options.write:
        BASELINE.write_text(json.dumps({**baseline, "figures": limits}, indent=2) + "\n")
    bad = subjects(baseline["commits_since"])
    print("\n".join(f"commit subject: {subject}" for subject in bad))
    print(f"{len(figures) - worse} passed, {worse + len(bad)} failed")
    return 1 if worse or bad else 0


if __name__ == "__main__":
    sys.exit(main())
