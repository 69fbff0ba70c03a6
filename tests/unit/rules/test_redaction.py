"""What is redacted cannot be read any more, in any form in which it was handed over."""

import base64
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.rules.redaction import SHORTEST, redact

secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=SHORTEST, max_size=40).filter(
    lambda value: value not in "[redacted secret]"
)


@given(value=secrets, before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_known_secret_is_gone_in_every_form(value: str, before: str, after: str) -> None:
    forms = (value, quote(value, safe=""), base64.b64encode(value.encode()).decode())

    for form in forms:
        assert value not in redact(f"{before} {form} {after}", [value]).replace("[redacted secret]", "")
        assert form not in redact(f"{before} {form} {after}", [value]).replace("[redacted secret]", "")


def test_a_token_of_a_known_format_is_gone_without_being_named() -> None:
    token = "hf_" + "aB3" * 12

    assert redact(f"Using {token}.") == "Using [redacted hugging-face-token]."


def test_a_short_known_value_does_not_eat_ordinary_words() -> None:
    assert redact("a cat sat", ["cat"]) == "a cat sat"


def test_the_longer_of_two_nested_secrets_goes_first() -> None:
    assert redact("x abcdefghij y", ["abcdef", "abcdefghij"]) == "x [redacted secret] y"
