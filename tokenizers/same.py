"""Whether two tokenizers give the same ids: what a model may learn from another one's distributions needs."""

from __future__ import annotations

from .base import Tokenizer

# Spaces, numbers, case, accents composed and not, scripts, code: what tokenizers of one vocabulary merge differently.
PROBE = (
    "The quick brown fox jumps over the lazy dog; it's 10,234.50 miles (or 2024 km) away!",
    "   indented\n\n\tdef f(x):\n        return x ** 2  # don't\r\n",
    "Éric naïvely re\u0301sume\u0301 ÅNGSTRÖM straße İstanbul ﬁne",
    "中文分词 日本語テキスト 한국어 русский язык العربية हिन्दी ไทย 🙂👩‍👩‍👧 ∑∫≠",
    "aaaaaaaaaaaaaaaa ........ ---- HTTPServerError camelCase snake_case 0x1F 1e-5 <s> </s> [MASK]",
)


def difference(one: Tokenizer, other: Tokenizer) -> str | None:
    """What tells two tokenizers apart, as the end of a sentence; None where every id stands for the same in both.

    What they put around a text does not count. Vocabularies are compared id by id, and the way to them on a probe.
    """
    if one.fingerprint == other.fingerprint:
        return None
    if one.vocab_size != other.vocab_size:
        return f"{one.name} has {one.vocab_size:,} ids and {other.name} {other.vocab_size:,}"
    for i in range(one.vocab_size):
        if (a := one.decode([i])) != (b := other.decode([i])):
            return f"id {i} is {a!r} in {one.name} and {b!r} in {other.name}"
    for text in PROBE:
        a, b = one.encode(text), other.encode(text)
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            near = one.decode(a[max(0, at - 1) : at + 2])
            return f"{one.name} and {other.name} cut the text around {near!r} into other ids"
    return None
