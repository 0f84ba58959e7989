"""The forwards in which functions of the table are called: made followed ones, and compared with the original."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

from torch import nn

from gpu.models.agreement import disagreement
from gpu.models.copying import copy_of
from gpu.models.linearizing.examination import MODES, Examination, followable
from gpu.models.linearizing.followed import Followed, follow, unfollow
from gpu.models.linearizing.following import GATE
from gpu.models.linearizing.mentions import mentioned
from gpu.models.linearizing.recording import NO_AVERAGE, Record
from gpu.models.linearizing.report import Kept, Linearized

BY_CLASS = "the network asks which class a module is of: with a module of another class, it computes something else"


def follow_forwards(done: Linearized, found: Examination) -> dict[str, nn.Module]:
    """Make the forwards that call functions of the table followed ones, in place; return their modules by path."""
    known = {
        path: dict(part._linearize_answers) if isinstance(part, Followed) else {}
        for path, part in followable(done.model).items()
    }
    followed: dict[str, nn.Module] = {}
    for path, part in followable(done.model).items() if found.inputs else ():
        records = {site: record for (owner, site), record in found.records.items() if owner == path and site}
        answers = {site: record.answer for site, record in records.items() if not record.obstacle}
        unseen = set(mentioned(part)) - {record.base_name for record in records.values()}
        nothing_new = all(answer == "keep" or site in known[path] for site, answer in answers.items())
        if path in found.closed or (nothing_new and not unseen):
            continue
        follow(part, answers | known[path])
        followed[path] = part
    done.changes += _changes(found, known)
    done.replaced |= {
        (path, record.line_of_forward)
        for (path, site), record in found.records.items()
        if site and record.answer != "keep"
    }
    for (path, site), record in found.records.items():
        if site and record.stays and record.matters and site not in known.get(path, ()):
            reason = record.stays if record.stays in {GATE, NO_AVERAGE} else record.stays + _advice(record)
            done.kept.append(Kept(path, record.function.name, record.line, reason, record.line_of_forward))
    return followed


def _changes(found: Examination, known: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of what is replaced in forwards: in both modes first, then in one mode only."""
    lines = {mode: Counter[str]() for mode in MODES}
    for (path, site), record in found.records.items():
        if site and record.answer != "keep" and site not in known.get(path, ()):
            for mode in record.modes if len(found.inputs) == len(MODES) else MODES:
                lines[mode][f"{path or 'the model'}: {record.function.name} in forward -> {record.replacement}"] += 1
    in_training, in_evaluation = lines.values()
    yield from (in_training & in_evaluation).elements()
    yield from (f"{line}, in training only" for line in (in_training - in_evaluation).elements())
    yield from (f"{line}, in evaluation only" for line in (in_evaluation - in_training).elements())


def _advice(record: Record) -> str:
    row = record.function.row
    module = None if row is None else row.module
    return "" if module is None else f"; write self.act = nn.{module.__name__}(...) instead"


def compared(model: nn.Module, done: Linearized, swapped: dict[str, nn.Module], found: Examination) -> str | None:
    """Return what differs from the original if all that was replaced is put back, None if nothing does.

    Modes in which the network could not be run are left out.
    """
    restored, original = copy_of(done.model), copy_of(model)
    for part in (*restored.modules(), *original.modules()):  # the original may be a linearised network itself
        if isinstance(part, Followed):
            follow(part, part._linearize_answers, restores=True)
    _put_in_places(restored, original, {path: copy_of(original.get_submodule(path)) for path in swapped})
    for training, inputs in found.inputs.items():
        original.train(training)
        restored.train(training)
        try:
            difference = disagreement(original, restored, inputs, gradients=True)
        except Exception:  # of the original, which has no gradients: it may write over what its backward pass needs
            try:
                difference = disagreement(original, restored, inputs)
            except Exception as error:  # raised for some random numbers only
                difference = f"the original raises {type(error).__name__}: {error}"
        if difference is not None:
            return f"{difference}, in {'training' if training else 'evaluation'} mode"
    return None


def _put_in_places(model: nn.Module, original: nn.Module, parts: dict[str, nn.Module]) -> None:
    """Put parts, given by the first paths of those of the original, in all places where the original has these."""
    by_part = {original.get_submodule(path): part for path, part in parts.items()}
    for path, part in original.named_modules(remove_duplicate=False):
        if path and part in by_part:
            owner, _, name = path.rpartition(".")
            model.get_submodule(owner)._modules[name] = by_part[part]


def leave_swapped(model: nn.Module, done: Linearized, swapped: dict[str, nn.Module], found: Examination) -> None:
    """Put replaced modules back, in place, if the network takes another way through its code without their classes."""
    original, parts = copy_of(model), {path: copy_of(part) for path, part in swapped.items() if path}
    for path, part in parts.items():
        part.forward = done.model.get_submodule(path).forward
    answered = copy_of(done.model)
    _put_in_places(answered, original, parts)
    differences: list[str] = []
    for training, inputs in found.inputs.items():
        with contextlib.suppress(Exception):  # of the answered network: a gate in a branch that was not taken
            difference = disagreement(answered, done.model, inputs, training=training)
            if difference is not None and disagreement(answered, answered, inputs, training=training) is None:
                differences.append(difference)
    if not differences:
        return
    _put_in_places(done.model, original, {path: swapped[path] for path in parts})
    for path, part in parts.items():
        line = f"{path}: {type(part).__name__} -> "
        done.changes = [change for change in done.changes if not change.startswith(line)]
        done.replaced.discard((path, ""))
        done.kept.append(Kept(path, type(part).__name__, "", f"{BY_CLASS} ({differences[0]})"))


def leave_forwards(done: Linearized, followed: dict[str, nn.Module], found: Examination, difference: str) -> None:
    """Make followed forwards their own again, in place, and say so."""
    for part in followed.values():
        unfollow(cast(Followed, part))
    done.changes = [line for line in done.changes if " in forward -> " not in line]
    done.replaced = {(path, line) for path, line in done.replaced if not line}
    reason = f"with the activations put back, the network does not compute what the original does: {difference}"
    for (path, site), record in found.records.items():
        if site and record.answer != "keep" and path in followed:
            done.kept.append(Kept(path, record.function.name, record.line, reason, record.line_of_forward))


def note_what_was_not_run(done: Linearized, found: Examination) -> None:
    """Say which functions stay because no input was found, and that nothing was compared, if it is so."""
    if not found.errors:
        return
    for training, error in found.errors.items():
        mode = "training" if training else "evaluation"
        ends = "" if found.inputs else "; pass inputs=..., the arguments of its forward"
        done.notes.append(
            f"the model: nothing was compared in {mode} mode, in which it could not be run ({type(error).__name__}: "
            f"{str(error).strip().partition(chr(10))[0]}){ends}"
        )
    for path, part in followable(done.model).items() if not found.inputs else ():
        for name in mentioned(part):
            done.kept.append(Kept(path, name, "", "the model could not be run; pass inputs=... that it takes"))
