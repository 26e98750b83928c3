"""Audit: look for faults that make a model answer otherwise than it should, and show each.

Idea     nothing is trained and nothing looked up inside: rows of the data are asked, changed in a
         way that must not matter, and asked again. What differs is compared with what rounding may
         do, in float64 where the model runs in it; what is found is made as small as shows it
Units    of the model's output
Limits   inputs are sampled: no finding is no proof. The model is left as it was, random state too
Source   our own selection of known faults; see each check
"""

import re
import warnings as python_warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from howfar.measure.audit.guard import Guard, modules_of, random_state
from howfar.measure.audit.leak import check_leak
from howfar.measure.audit.look import check_numbers, look
from howfar.measure.audit.mates import check_mates, check_order
from howfar.measure.audit.modes import check_modes
from howfar.measure.audit.observed import check_observed
from howfar.measure.audit.options import KINDS, AuditOptions
from howfar.measure.audit.padding import check_empty, check_padding
from howfar.measure.audit.report import Audit, Finding, Outcome, refuse_equal_tokens
from howfar.measure.audit.rows import Material
from howfar.measure.audit.state import check_state
from howfar.measure.audit.streaming import check_steps
from howfar.measure.audit.subject import CLASSES, Refused, Subject, check_tokens, takes_lengths
from howfar.measure.audit.truncation import check_truncation

AT_TOKENS = ("padding", "empty_row", "truncation")  # kinds that need to know where answers stand
FEW = 4  # distinct rows below which the audit says so
LANGUAGE_MODEL = re.compile("CausalLM|LMHead")


def audit(
    predict: Callable[..., Any],
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    causal: bool | None = None,
    step: Callable[..., Any] | None = None,
    options: AuditOptions | None = None,
) -> Audit:
    """Look for faults of ten kinds; see `KINDS`.

    Args:
        predict: `predict(tokens, lengths)` or `predict(tokens)`, returning (B, L, V), (B, L) or
            (B, C); an nn.Module is asked in evaluation mode, and in the mode it comes in.
        tokens: integer (N, L), or real (N, L) or (N, L, D), of the data the model is used on.
        lengths: (N,) real tokens a row, padding on the right; None: all.
        causal: True: answers must not know later tokens; False: they may; None: True if the model
            says so (an attribute `causal`, a way to go step by step, a language model's name),
            else a model that reads both sides alike is taken for one that is meant to.
        step: `step(tokens_B, state) -> (outputs_BV, state)`; None: what the model offers.
        options: see `AuditOptions`.

    Raises:
        UsageError: shapes that do not fit, or a model that cannot be asked. DataError: NaN.
    """
    options = options or AuditOptions()
    given = check_tokens(torch.as_tensor(tokens), lengths)
    material = Material(given, options.rows, options.length, options.seed)
    if not material.varied:
        raise refuse_equal_tokens()
    modules = modules_of(predict)
    guard = Guard(modules)
    with random_state(given.tokens.device) as draw_from, python_warnings.catch_warnings():
        python_warnings.simplefilter("ignore")
        wants = takes_lengths(predict)
        subject = Subject(predict, modules, guard, draw_from, takes_lengths=wants)
        try:
            runner = _Runner(subject, material, options)
            runner.look()
            runner.all(_claim(predict, modules, step, causal), step, told=lengths is not None)
        finally:
            guard.restore()
    distinct = len(given.tokens)
    said = runner.said
    if int(given.lengths.max()) > material.rows.width:
        said.append(f"rows were cut to {material.rows.width} tokens, but for truncation")
    if distinct < FEW:
        rows = "one row" if distinct == 1 else f"{distinct} rows"
        said.append(f"{rows} given: others were made from their tokens")
    if guard.frozen:
        said.append("the parameters were not copied: a change to them would not be undone")
    if subject.noise > 0:
        said.append(f"equal calls differ by {subject.noise:.2g}: smaller faults are not seen")
    elif max(subject.randomness, subject.rounding) > 0:
        moves = max(subject.randomness, subject.rounding)
        said.append(
            f"noise or rounding moves answers by {moves:.2g} from one shape of batch"
            " to another: smaller faults that change the shape are not seen"
        )
    return runner.result(tuple(said))


class _Runner:
    """Run the checks one after the other and keep what they say."""

    def __init__(self, subject: Subject, material: Material, options: AuditOptions) -> None:
        self.subject, self.material, self.options = subject, material, options
        self.findings: list[Finding] = []
        self.checked: list[str] = []
        self.skipped: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.said: list[str] = []
        self.positions: int | None = None
        self.strided = False

    def look(self) -> None:
        """Shapes first: every check needs them."""
        subject, material = self.subject, self.material
        seen = look(subject, material.rows)
        subject.everywhere, subject.dtype = seen.everywhere, seen.dtype
        self.positions, self.strided = seen.positions, seen.strided
        if seen.positions is not None:
            material.rows = material.rows.cut(seen.positions)
        if seen.last > CLASSES:
            chosen = sorted(material.order(seen.last, "classes")[:CLASSES])
            subject.classes = torch.tensor(chosen)
            self.said.append(f"{CLASSES} of {seen.last} outputs were compared")
        if seen.everywhere:
            material.rows = material.rows.cut(seen.width)
        material.fewer(max(2, seen.batch))
        subject.sample = material.rows
        check_numbers(subject, material.rows)

    def all(self, claim: str | None, step: Callable[..., Any] | None, *, told: bool) -> None:
        """Every check that is asked for; modes and state first, as the others build on them."""
        subject, material, options = self.subject, self.material, self.options
        self.one("stateful", lambda: check_state(subject, material))
        self.one("train_eval", lambda: check_modes(subject, material))
        self.one("batch_mates", lambda: check_mates(subject, material))
        subject.mixing = any(f.kind == "batch_mates" for f in self.findings)
        self.one("batch_order", lambda: check_order(subject, material))
        self.one("future_leak", lambda: check_leak(subject, material, options, claim))
        self.one("padding", lambda: self._padding(told=told))
        self.one("empty_row", lambda: check_empty(subject, material))
        self.one("step_parallel", lambda: check_steps(subject, material, step))
        self.one("observed", lambda: check_observed(subject, material))
        self.one("truncation", lambda: check_truncation(subject, material, options, self.positions))

    def one(self, kind: str, check: Callable[[], Outcome]) -> None:
        """One check; a model that raises in it is said to."""
        if kind not in self.options.checks:
            return
        if self.strided and kind in AT_TOKENS:
            self.skipped.append((kind, "the answers follow the length, but are not one a token"))
            return
        try:
            outcome = check()
        except Refused as refusal:
            outcome = Outcome(skipped=str(refusal))
        self.notes += outcome.notes
        self.findings += outcome.findings
        if outcome.skipped:
            self.skipped.append((kind, outcome.skipped))
        else:
            self.checked.append(kind)

    def _padding(self, *, told: bool) -> Outcome:
        leaks = any(finding.kind == "future_leak" for finding in self.findings)
        if leaks:
            return Outcome(skipped="padding is the future of the last tokens, which leaks")
        return check_padding(self.subject, self.material, told=told)

    def result(self, warnings: tuple[str, ...]) -> Audit:
        """Findings in the order of `KINDS`, each kind's first one."""
        ordered = [
            finding
            for kind in KINDS
            if kind in self.options.checks
            for finding in [found for found in self.findings if found.kind == kind][:1]
        ]
        return Audit(
            findings=tuple(ordered),
            checked=tuple(self.checked),
            skipped=tuple(self.skipped),
            notes=tuple(self.notes),
            warnings=warnings,
            calls=self.subject.calls,
        )


def _claim(
    predict: object,
    modules: list[nn.Module],
    step: object,
    causal: bool | None,
) -> str | None:
    """Why the model counts as causal; "": it reads both sides; None: it does not say."""
    if causal is not None:
        return "causal=True" if causal else ""
    for module in [predict, *modules, *(part for root in modules for part in root.children())]:
        name = type(module).__name__
        if isinstance(getattr(module, "causal", None), bool):
            return f"{name}.causal is True" if module.causal else ""  # type: ignore[attr-defined]
        if isinstance(module, nn.Module) and LANGUAGE_MODEL.search(name):
            return f"it is a {name}"
    if step is not None or hasattr(predict, "chunk"):
        return "it goes on from a state"
    return None
