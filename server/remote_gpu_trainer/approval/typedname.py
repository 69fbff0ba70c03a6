"""Judging what a person typed in place of a yes."""

import unicodedata


def why_not(typed: str, name: str) -> str | None:
    """None when what was typed is the name, byte for byte; else why it is not a yes.

    The reason never repeats what was typed: people paste secrets into the wrong window.
    """
    given, wanted = typed.encode("utf-8", "surrogatepass"), name.encode("utf-8", "surrogatepass")
    if given == wanted:
        return None
    if not typed.strip():
        return "nothing was typed where the instance's name has to be"
    if typed.strip() == name:
        return "the name was typed with spaces around it"
    if any(ord(character) > 127 for character in typed) and name.isascii():
        if unicodedata.normalize("NFKC", typed).casefold() == name.casefold():
            return "what was typed looks like the name and is made of other characters"
        return "what was typed holds characters outside ASCII, and the name has none"
    if typed.casefold() == name.casefold():
        return "the name was typed in other capitals"
    return "what was typed is not the instance's name"
