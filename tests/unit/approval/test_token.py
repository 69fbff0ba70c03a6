"""The token: random enough, readable aloud, and a typing error is told from a forgery."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remote_gpu_trainer.approval.token import ALPHABET, MistypedToken, mint, normalise, same, seal

KEY, SALT = b"k" * 32, b"s" * 16
PLACES = st.integers(0, 27)


def test_a_token_is_seven_groups_of_four_without_look_alikes() -> None:
    groups = mint().split("-")
    assert [len(group) for group in groups] == [4] * 7
    assert not set("".join(groups)) & set("ILOU-")


def test_a_token_holds_at_least_128_random_bits() -> None:
    assert len(ALPHABET) == len(set(ALPHABET)) == 32
    assert 27 * 5 >= 128
    seen = [mint() for _ in range(500)]
    assert len(set(seen)) == 500
    for place in range(27):
        assert len({normalise(token)[place] for token in seen}) > 20


@given(place=PLACES, character=st.sampled_from(ALPHABET))
def test_one_wrong_character_is_always_noticed(place: int, character: str) -> None:
    plain = normalise(mint())
    if plain[place] != character:
        with pytest.raises(MistypedToken, match="checksum"):
            normalise(plain[:place] + character + plain[place + 1 :])


@given(one=PLACES, other=PLACES)
def test_two_characters_swapped_are_always_noticed(one: int, other: int) -> None:
    plain = list(normalise(mint()))
    if plain[one] != plain[other]:
        plain[one], plain[other] = plain[other], plain[one]
        with pytest.raises(MistypedToken, match="checksum"):
            normalise("".join(plain))


@given(
    separators=st.lists(st.sampled_from(["", " ", "-", "\u2013", "\t"]), min_size=28, max_size=28), lower=st.booleans()
)
def test_every_way_to_write_a_token_is_the_same_token(separators: list[str], lower: bool) -> None:
    plain = normalise(mint())
    written = "".join(character + separator for character, separator in zip(plain, separators, strict=True))
    assert normalise(written.lower() if lower else written) == plain
    assert normalise(plain.replace("0", "O").replace("1", "l")) == plain


@given(st.text(max_size=60))
def test_what_is_no_token_is_refused_without_being_repeated(typed: str) -> None:
    try:
        assert len(normalise(typed)) == 28
    except MistypedToken as problem:
        assert len(typed) < 6 or typed not in str(problem)


@pytest.mark.parametrize("character", ["\u0410", "\uff21", "\u0660", "U", "!", "\u200b", "\u00df", "\u0131", "\ufb01"])
def test_look_alikes_from_other_alphabets_are_no_token(character: str) -> None:
    with pytest.raises(MistypedToken):
        normalise(character + normalise(mint())[1:])


def test_a_seal_fits_one_token_key_salt_and_binding() -> None:
    token, binding = mint(), {"plan": "a", "expires": "b"}
    sealed = seal(token, key=KEY, salt=SALT, binding=binding)
    assert len(sealed) == 32
    assert same(sealed, seal(token.lower(), key=KEY, salt=SALT, binding=dict(reversed(binding.items()))))
    assert not same(sealed, seal(mint(), key=KEY, salt=SALT, binding=binding))
    assert not same(sealed, seal(token, key=b"x" * 32, salt=SALT, binding=binding))
    assert not same(sealed, seal(token, key=KEY, salt=b"t" * 16, binding=binding))
    assert not same(sealed, seal(token, key=KEY, salt=SALT, binding={**binding, "plan": "c"}))
    assert not same(sealed, seal(token, key=KEY, salt=SALT, binding={"plan": "ab", "expires": ""}))
