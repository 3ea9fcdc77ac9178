"""Patterns of IKE identities: `*` stands for any text, `?` for one character; upper and lower case are the same.

A peer chooses its identity within what its certificate says. So matching takes one step a character of the identity,
whatever the pattern: all places in the pattern that the text so far can have reached are bits of one number, and there
is nothing to try again.
"""


class Pattern:
    """A pattern, ready to be matched."""

    __slots__ = ("_any", "_end", "_of_character", "_stars", "_text")

    def __init__(self, pattern: str) -> None:
        self._text = pattern.lower()
        self._of_character: dict[str, int] = {}
        """Character → the places of the pattern that only it passes; bit 0 is the first place."""
        self._any = 0
        """The places that any one character passes."""
        self._stars = 0
        """The places that any characters pass, and that may be passed without one."""
        before = ""
        place = 1
        for each in self._text:
            if each == "*" and before == "*":
                continue
            if each == "*":
                self._stars |= place
            elif each == "?":
                self._any |= place
            else:
                self._of_character[each] = self._of_character.get(each, 0) | place
            place <<= 1
            before = each
        self._end = place

    def matches(self, identity: str) -> bool:
        """Returns whether the pattern stands for the whole identity."""
        text = identity.lower()
        if not self._stars and not self._any:
            return text == self._text
        stars = self._stars
        reached = 1
        reached |= (reached & stars) << 1
        for each in text:
            passed = self._any | self._of_character.get(each, 0)
            reached = (reached & passed) << 1 | reached & stars
            reached |= (reached & stars) << 1
            if not reached:
                return False
        return bool(reached & self._end)
