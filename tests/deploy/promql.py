"""What a query asks for: the names of metrics, and the labels that it knows them by."""

import re

WORDS = {"by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless", "bool", "offset"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
NAME = re.compile(r"([a-zA-Z_:][\w:]*)\s*(\{[^{}]*\})?\s*(\()?")
COMPARISON = re.compile(r" (==|!=|>=|<=|>|<)(?= )")


def without_texts(expr):
    return re.sub(r'"[^"]*"', '""', expr)


def selectors(expr):
    """Each metric that is asked for, with the labels that it is chosen by."""
    bare = re.sub(r"\[[^\]]*\]", "", GROUPING.sub(" ", without_texts(expr)))
    for name, braces, call in NAME.findall(bare):
        if not call and name not in WORDS:
            yield name, set(re.findall(r"(\w+)\s*[=!]", braces))


def groupings(expr):
    """The labels by which results are grouped and matched."""
    return {label.strip() for labels in GROUPING.findall(without_texts(expr)) for label in labels.split(",")} - {""}


def as_numbers(expr):
    """The same, where comparisons answer 0 or 1 instead of leaving out what does not hold."""
    return COMPARISON.sub(r" \1 bool", expr)
