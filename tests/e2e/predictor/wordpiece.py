# SPDX-License-Identifier: Apache-2.0
"""BERT's uncased tokenizer: text to the numbers of word pieces.

In this order: control characters go, any white space is a blank; a CJK character is a word of its own; accents are taken off
(NFD, without what is then a mark of its own) and letters made small, each alone; words end at blanks and around punctuation; a
word is cut into the longest pieces that the vocabulary has, from its start, those behind the first with "##" in front. "[SEP]"
in a text is punctuation and a word like any other.
"""
import unicodedata

WORD_MAX = 100  # characters; a longer word is unknown
CJK = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
       (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))


def is_cjk(c):
    return any(first <= ord(c) <= last for first, last in CJK)


def is_punctuation(c):
    """All of ASCII that is no letter, digit or blank counts, also $ and ^, which Unicode calls symbols."""
    return "!" <= c <= "/" or ":" <= c <= "@" or "[" <= c <= "`" or "{" <= c <= "~" or unicodedata.category(c)[0] == "P"


def clean(c):
    """What stands for a character of the text: a blank, nothing, or itself."""
    if c.isspace() and (c in "\t\n\r" or unicodedata.category(c)[0] == "Z"):
        return " "
    if c == "\ufffd" or unicodedata.category(c)[0] == "C":
        return ""
    return f" {c} " if is_cjk(c) else c


def normalize(text):
    decomposed = unicodedata.normalize("NFD", "".join(map(clean, text)))
    return "".join(c.lower() for c in decomposed if unicodedata.category(c) != "Mn")


def words(text):
    spaced = "".join(f" {c} " if is_punctuation(c) else c for c in normalize(text))
    return spaced.split()


class WordPiece:
    def __init__(self, vocabulary, length_max):
        """vocabulary: lines of vocab.txt. length_max: of the result, with [CLS] and [SEP]."""
        self.ids = {piece: i for i, piece in enumerate(vocabulary)}
        self.length_max = length_max
        self.unknown, self.first, self.last = (self.ids[name] for name in ("[UNK]", "[CLS]", "[SEP]"))

    def encode(self, text):
        pieces = [piece for word in words(text) for piece in self.pieces(word)]
        return [self.first, *pieces[:self.length_max - 2], self.last]

    def pieces(self, word):
        """One piece that cannot be found makes the whole word unknown."""
        if len(word) > WORD_MAX:
            return [self.unknown]
        found, start = [], 0
        while start < len(word):
            end = next((e for e in range(len(word), start, -1) if self.key(word, start, e) in self.ids), None)
            if end is None:
                return [self.unknown]
            found.append(self.ids[self.key(word, start, end)])
            start = end
        return found

    @staticmethod
    def key(word, start, end):
        return word[start:end] if start == 0 else "##" + word[start:end]
