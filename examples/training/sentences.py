"""Real sentences in ten languages: the translations that ship with Django.

Every message is kept or held out in all languages at once, so that a held-out
sentence has no translation, full of the same names and numbers, to learn from.
"""

import re
from pathlib import Path
from typing import NamedTuple

import django
import polib

LANGUAGES = {
    "en": "English",
    "de": "German",
    "fr": "French",
    "es": "Spanish",
    "it": "Italian",
    "pt": "Portuguese",
    "nl": "Dutch",
    "pl": "Polish",
    "ru": "Russian",
    "tr": "Turkish",
}

# What a translator leaves alone: placeholders, tags, links and code say nothing
# of the language around them.
FOREIGN = re.compile(
    r"%\(\w+\)[a-z]|%[a-z%]|\{[^}]*\}|<[^>]*>|&\w+;|https?://\S+|\S*[_/@\\]\S*|[“”«»\"„]"
)


class Sentence(NamedTuple):
    text: str
    language: int  # its place in LANGUAGES
    message: str  # the English original, which all translations share


def load() -> list:
    """All sentences, in an order that is the same on every machine."""
    found = {}
    for language, code in enumerate(LANGUAGES):
        # English has no file of its own: it is the left side of all others.
        for message, original, translation in messages("de" if code == "en" else code):
            text = cleaned(original if code == "en" else translation)
            # What is the same in English has not been translated.
            if len(text) >= 4 and (code == "en" or text != cleaned(original)):
                found.setdefault(text, set()).add((language, message))
    # A text that two languages share has no right answer.
    owned = {text: owners for text, owners in found.items() if len({o[0] for o in owners}) == 1}
    return [Sentence(text, *min(owners)) for text, owners in sorted(owned.items())]


def messages(code: str):
    """Message, original and translation; a plural shares its singular's message."""
    files = sorted(Path(django.__file__).parent.glob(f"**/locale/{code}/LC_MESSAGES/*.po"))
    for entry in (entry for file in files for entry in polib.pofile(file)):
        if entry.obsolete or entry.fuzzy:
            continue
        if entry.msgstr:
            yield entry.msgid, entry.msgid, entry.msgstr
        for count, plural in entry.msgstr_plural.items():
            yield entry.msgid, (entry.msgid if count == 0 else entry.msgid_plural), plural


def cleaned(text: str) -> str:
    return " ".join(FOREIGN.sub(" ", text).split())
