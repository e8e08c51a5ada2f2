"""Which rules are broken, how often, and by which records first."""

from collections.abc import Iterable

from bulkload.installation import Finding
from bulkload.report.checked import Example, RuleBroken, Severity, Spot

EXAMPLES = 3


class Tally:
    """Counts findings by their rules."""

    def __init__(self) -> None:
        self._rules: dict[tuple[Severity, str], _Rule] = {}

    def __repr__(self) -> str:
        return f"<Tally of {len(self._rules)} rules broken>"

    def add(self, severity: Severity, findings: Iterable[Finding], spot: Spot) -> None:
        """What there is to say of one record."""
        seen: set[str] = set()
        for code, message in findings:
            rule = self._rules.get((severity, code))
            if rule is None:
                rule = self._rules[severity, code] = _Rule()
            rule.findings += 1
            if code in seen:
                continue
            seen.add(code)
            rule.records += 1
            if len(rule.examples) < EXAMPLES:
                id_ = None if spot.id is None else _whole(spot.id)
                rule.examples.append(Example(spot.source, spot.line, id_, _whole(message)))

    def rules(self) -> tuple[RuleBroken, ...]:
        """Errors before warnings, and of each those that most records break first."""
        broken = [
            RuleBroken(code, severity, rule.records, rule.findings, tuple(rule.examples))
            for (severity, code), rule in self._rules.items()
        ]
        return tuple(sorted(broken, key=lambda rule: (rule.severity, -rule.records, rule.code)))


def _whole(text: str) -> str:
    """A text that can be written: what is invalid may hold half a character."""
    return text.encode(errors="replace").decode()


class _Rule:
    __slots__ = ("examples", "findings", "records")

    def __init__(self) -> None:
        self.records = self.findings = 0
        self.examples: list[Example] = []
