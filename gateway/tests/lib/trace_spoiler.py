"""Traces that must not pass, made out of one that does: a sync left out, an answer given too early, and so on."""
import dataclasses
import os
import re

from lib import trace_events
from lib.trace_model import tail_of


class Spoiler:
    """Makes traces that must not pass out of one that does."""

    def __init__(self, checker, chance):
        self.checker, self.events, self.chance = checker, checker.events, chance
        # Answers with the batch that holds their record.
        self.acknowledged = [(request, answer, checker.batches_of(request, answer)[-1]) for request, answer in checker.answers]

    def without(self, gone):
        gone = {event.begin for event in gone}
        assert gone, "there is something to leave out"
        return [event for event in self.events if event.begin not in gone]

    def syncs(self, path, after, before):
        return [sync for sync in self.checker.syncs[path] if sync.begin > after and sync.end < before]

    def any_answer(self, wanted=lambda request: True):
        return self.chance.choice([one for one in self.acknowledged if wanted(one[0])])

    def any_large(self):
        return self.any_answer(lambda request: request.token and self.checker.payload[request.token])

    def payload_writes(self, request, batch):
        writes = [write.event for write in self.checker.payload[request.token]]
        return [event for event in writes if request.begin < event.begin < batch.event.begin]

    def record_sync_left_out(self):
        _, answer, batch = self.any_answer()
        return self.without(self.syncs(batch.event.path, batch.event.end, answer.begin))

    def record_sync_failed(self):
        _, answer, batch = self.any_answer()
        failed = {sync.begin for sync in self.syncs(batch.event.path, batch.event.end, answer.begin)}
        return [dataclasses.replace(event, result=-1) if event.begin in failed else event for event in self.events]

    def record_write_left_out(self):
        _, _, batch = self.any_answer()
        return self.without([batch.event])

    def answer_before_sync(self):
        _, answer, batch = self.any_answer()
        sync = self.syncs(batch.event.path, batch.event.end, answer.begin)[0]
        early = sync.end - 0.5
        return sorted((dataclasses.replace(event, begin=early, end=early) if event is answer else event for event in self.events),
                      key=lambda event: event.begin)

    def log_folder_sync_left_out(self):
        file = self.chance.choice(sorted({batch.event.path for _, _, batch in self.acknowledged}))
        first = min(answer.begin for _, answer, batch in self.acknowledged if batch.event.path == file)
        made = self.checker.names[file][-1]
        return self.without(self.syncs(os.path.dirname(file), made.end, first))

    def payload_sync_left_out(self):
        request, _, batch = self.any_large()
        last = self.payload_writes(request, batch)[-1]
        return self.without(self.syncs(last.path, last.end, batch.event.begin))

    def payload_write_left_out(self):
        request, _, batch = self.any_large()
        return self.without([self.chance.choice(self.payload_writes(request, batch))])

    def record_before_payload_sync(self):
        request, _, batch = self.any_large()
        last = self.payload_writes(request, batch)[-1]
        early = self.syncs(last.path, last.end, batch.event.begin)[0].end - 0.5
        moved = dataclasses.replace(batch.event, begin=early, end=early)
        return sorted((moved if event is batch.event else event for event in self.events), key=lambda event: event.begin)

    def bulk_folder_sync_left_out(self):
        request, _, batch = self.any_large()
        path = self.payload_writes(request, batch)[0].path
        return self.without(self.syncs(os.path.dirname(path), self.checker.names[path][-1].end, batch.event.begin))

    def any_catalog(self):
        return self.chance.choice([catalog for catalog in self.checker.catalogs if catalog.files])

    def sealed_file(self):
        """A file that a generation is the first to name."""
        catalog = self.any_catalog()
        root = os.path.dirname(os.path.dirname(catalog.event.to))
        before = set().union(*(other.files for other in self.checker.catalogs if other.generation < catalog.generation))
        new = sorted(catalog.files - before)
        return (f"{root}/{self.chance.choice(new)}", catalog) if new else self.sealed_file()

    def sealed_file_sync_left_out(self):
        path, catalog = self.sealed_file()
        return self.without(self.syncs(path, 0, catalog.event.begin))

    def sealed_folder_sync_left_out(self):
        path, catalog = self.sealed_file()
        return self.without(self.syncs(os.path.dirname(path), self.checker.names[path][-1].end, catalog.event.begin))

    def catalog_sync_left_out(self):
        catalog = self.any_catalog()
        made = max(made.begin for made in self.checker.names[catalog.event.path] if made.begin < catalog.event.begin)
        return self.without(self.syncs(catalog.event.path, made, catalog.event.begin))

    def catalog_folder_sync_left_out(self):
        """The former generation is removed next, so the sync between must be missed."""
        catalog = self.chance.choice([catalog for catalog in self.checker.catalogs if catalog.generation > 1])
        removed = [event for event in self.checker.removals if re.fullmatch(r"catalog/\d+\.[ab]", tail_of(event.path))]
        next_removed = min(event.begin for event in removed if event.begin > catalog.event.end)
        return self.without(self.syncs(os.path.dirname(catalog.event.to), catalog.event.end, next_removed))

    def log_file_reused_too_early(self):
        """As if the file with the newest records had been renamed over."""
        _, _, batch = self.any_answer()
        place = batch.event.end + 0.5
        taken = trace_events.Event(place, place, "rename", batch.event.path, batch.event.path.replace(".log", "9.log"), "", 0)
        return sorted([*self.events, taken], key=lambda event: event.begin)

    def named_file_removed(self):
        catalog = self.any_catalog()
        root = os.path.dirname(os.path.dirname(catalog.event.to))
        path = f"{root}/{self.chance.choice(sorted(catalog.files))}"
        place = catalog.event.end + 0.5
        removed = trace_events.Event(place, place, "unlink", path, "", "", 0)
        return sorted([*self.events, removed], key=lambda event: event.begin)


SPOILED = [name for name in vars(Spoiler) if name.endswith(("_left_out", "_failed", "_sync", "_early", "_removed"))]
