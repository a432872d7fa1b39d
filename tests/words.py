"""The words that docs/glossary.md has replaced, and where a text still has one."""

import re

# Each with the word that took its place.
RETIRED = {
    "announced": "orchestrator_expected",
    "awaited": "orchestrator_expected",
    "bank": "scenarios",
    "fate": "injected fault",
    "ledger": "incident",
    "lot": "scenario",
    "rehearsal": "simulation, playback",
    "rehearse": "simulation, playback",
    "rival": "baseline",
    "scene": "facts",
    "spoken": "duration_text",
    "stranger": "unexpected processor",
    "telling": "notification",
    "trail": "the checkpoints of a date",
    "witness": "completion log, message log",
    "witnessed": "completion log, message log",
}
_PHRASES = re.compile(
    r"\bstor(?:y|ies) of (?:a|one|the) (?:game )?date|\bstand-ins?\b|\bwaited_for\b|\b_told\b",
    re.IGNORECASE,
)


def retired_in(text: str) -> set[str]:
    """Return the retired words of a text, those inside snake_case and CamelCase included."""
    parts = {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", text)}
    singular = {part.removesuffix("s") for part in parts} | {
        part.removesuffix("es") for part in parts
    }
    return (RETIRED.keys() & (parts | singular)) | {match[0] for match in _PHRASES.finditer(text)}
