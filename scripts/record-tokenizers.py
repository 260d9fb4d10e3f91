#!/usr/bin/env python3
"""Records what `tokenizers` (PyPI, 0.23.3) makes of every component that Junto has, for format/tokenizer tests:

testdata/tokenizers/components.json   {"normalizers": [{"spec", "cases": [[in, out]]}], "pre_tokenizers": [... [in, pieces]],
                                       "decoders": [... [tokens, text]]}
testdata/tokenizers/models.json       [{"name", "tokenizer" (a whole tokenizer.json), "cases": [{"text", "ids", "ids_special",
                                       "decoded", "decoded_skip"}]}]: small models of each kind, trained here

Usage: scripts/record-tokenizers.py (nothing is downloaded; the output is the same every time)
"""

import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "testdata" / "tokenizers"

TEXTS = [
    "", "a", " ", "Hello, world!", "  two  spaces  ", "don't WE'LL i'd 'ſ", "x\n\ny\r\n z\t\t", "tel. 0123456789, ½ Ⅳ ٣٤ ²",
    "naïve café Å A\u030a \u1e9b\u0323 \ufb01n Ǆ İI ẞ", "日本語とカナ、中文。한국어", "नमस्ते ภาษาไทย שלום عليكم", "🙂👩‍👩‍👧🇩🇪",
    "[CLS] a [SEP] <s>b</s> <pad>", "snake_case CamelCase a-b_c!?...", "\u200bzero\u200d \u00a0nbsp\u3000wide\u2028ls\u0085",
    "\u180e\u0000\u0001\ufeff\ufffd", "▁low▁ line", "ends with space ", "The quick brown fox jumps over the lazy dog.",
    "ſt (a) {b} $5 + 3 = 8 ^ ~ `|`", "a\u0301\u0300b\u0323\u0307 q\u0307\u0323",
    # Characters of Unicode 9 to 17: marks, letters, digits, punctuation, symbols, Han, compatibility forms, capitals.
    "a\u0301\u0898 b\u08d3\u0323 \u0c3c \U00010793 \U0001e030 \u32ff \U00011938 \u2e52 \u0a76 \u166d \U000111c9 \u0890",
    "x\U0001fae8\U0001fa75 \U0001d2c0\U0001ccf3 \U00031350\U00031351 \U000105c0 \u0ece \u1c89\ua7cb\ua7ce\U00010d50 \u1b4e\U000113d4",
]

NORMALIZERS = [
    {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}, {"type": "Lowercase"},
    {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "Strip", "strip_left": True, "strip_right": False},
    {"type": "Strip", "strip_left": False, "strip_right": True}, {"type": "StripAccents"}, {"type": "Nmt"},
    {"type": "ByteLevel"}, {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    {"type": "Replace", "pattern": {"Regex": r"(?i)[a-c]+|\d"}, "content": "<$1>"},
    {"type": "Replace", "pattern": {"Regex": "^"}, "content": "$1"},
    {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
    {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": False, "strip_accents": True, "lowercase": False},
    {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]},
]

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


class Pattern(str):
    """A regular expression, as opposed to a literal."""


def split_step(pattern, behavior, invert=False):
    kind = "Regex" if isinstance(pattern, Pattern) else "String"
    return {"type": "Split", "pattern": {kind: str(pattern)}, "behavior": behavior, "invert": invert}


BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
PRE_TOKENIZERS = (
    [split_step(Pattern(LLAMA3), b, i) for b in BEHAVIORS for i in (False, True)]
    + [split_step(p, b, i) for p in (" ", Pattern(r"[aeiou]")) for b in BEHAVIORS for i in (False, True)]
    + [split_step(Pattern(p), "Isolated") for p in (
        r"\w+|[^\w\s]+", r"\b", r"\d{1,3}(?=(?:\d{3})*\b)", r"(?=(\d{3})+(?!\d))", r"[\p{L}&&[^\p{Lu}]]+", r"[^a-z[0-9]]",
        r"\p{Han}+|\p{Hiragana}", r"\h+", r"[[:alpha:]]+|[[:punct:]]", r"a{1,2}+|\p{^L}", r"\x{61}|\u0062|\t", r"(?m).+",
        r"^.|.$", r"\s+$", r"(?<=[a-z])[A-Z]", r"[\s\S]{3}", r"\p{Letter}+", r"\P{L}+", r"[^\S\n]+", r"(\w)\1", r"[a\-z]+",
        r"x*", r"[]a]|\]", r"(?<word>[a-z]+)", r"(?>a+)b?", r"[\w\s]+?\.", r"\p{Alnum}+", r"\p{Uppercase_Letter}")]
    + [split_step(Pattern(p), "Removed") for p in (
        r"\w", r"[\w]", r"\W+", r"\p{N}", r"[\p{P}\p{S}]+", r"\p{Lu}", r"\p{M}", r"\p{Han}", r"\p{Cn}", "[\U0001fae8\U00031350]")]
    + [
        {"type": "ByteLevel", "add_prefix_space": p, "trim_offsets": True, "use_regex": r}
        for p in (False, True) for r in (False, True)
    ]
    + [
        {"type": "Metaspace", "replacement": "▁", "prepend_scheme": s, "split": c}
        for s in ("always", "first", "never") for c in (False, True)
    ]
    + [{"type": "Digits", "individual_digits": i} for i in (False, True)]
    + [{"type": "Punctuation", "behavior": b} for b in BEHAVIORS]
    + [{"type": "Whitespace"}, {"type": "WhitespaceSplit"}, {"type": "BertPreTokenizer"},
       {"type": "CharDelimiterSplit", "delimiter": "-"}, {"type": "FixedLength", "length": 3}]
    + [{"type": "Sequence", "pretokenizers": [
        {"type": "Punctuation", "behavior": "Contiguous"},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        {"type": "Digits", "individual_digits": False}, split_step(Pattern("[0-9][0-9][0-9]"), "Isolated")]},
       {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"},
                                              {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}]}]
)

TOKENS = [
    [], ["a"], ["▁Hello", "▁wor", "ld", "!"], ["▁▁a", "▁"], ["Hello", "##ing", ",", "do", "not", "n't", "'s"],
    ["Ġthe", "Ċ", "Ã", "©", "ðŁ", "x"], ["<0x41>", "<0xC3>", "<0xA9>", "b", "<0xFF>", "<0x0a>", "<0xZZ>"],
    ["low</w>", "er", "</w>"], ["h", "h", "<pad>", "e", "|", "|", "l", "<pad>", "l", "o", " ."], [" a", "  b ", " "],
    ["é", "Ġé", "日本"],
]
DECODERS = [
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, {"type": "ByteFallback"},
    {"type": "Fuse"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "never", "split": True},
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "Replace", "pattern": {"Regex": "[▁ ]+"}, "content": "_"}, {"type": "WordPiece", "prefix": "##", "cleanup": True},
    {"type": "WordPiece", "prefix": "##", "cleanup": False}, {"type": "BPEDecoder", "suffix": "</w>"},
    {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True},
    {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": False},
    {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                      {"type": "ByteFallback"}, {"type": "Fuse"},
                                      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
]


def whole(**parts):
    """A tokenizer with nothing but `parts`."""
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None,
            "model": {"type": "WordLevel", "vocab": {"?": 0}, "unk_token": "?"}}
    return Tokenizer.from_str(json.dumps({**base, **parts}))


def components():
    out = {"normalizers": [], "pre_tokenizers": [], "decoders": []}
    for spec in NORMALIZERS:
        one = whole(normalizer=spec).normalizer
        out["normalizers"].append({"spec": spec, "cases": [[t, one.normalize_str(t)] for t in TEXTS]})
    for spec in PRE_TOKENIZERS:
        one = whole(pre_tokenizer=spec).pre_tokenizer
        out["pre_tokenizers"].append({"spec": spec, "cases": [[t, [p for p, _ in one.pre_tokenize_str(t)]] for t in TEXTS]})
    for spec in DECODERS:
        one = whole(decoder=spec).decoder
        cases = [t for t in TOKENS if t or spec["type"] != "BPEDecoder"]  # which panics on nothing
        out["decoders"].append({"spec": spec, "cases": [[t, one.decode(t)] for t in cases]})
    return out


def corpus():
    texts = [(ROOT / "testdata/oracles/text" / name).read_text() for name in ("udhr-eng.txt", "udhr-deu_1996.txt")]
    return [line for text in texts for line in text.splitlines() if line.strip()]


def trained(name):
    """One small model of each kind, with what published models of the kind have around it."""
    lines, quiet = corpus(), {"show_progress": False}
    if name == "unigram":  # as T5 and XLM-R
        t = Tokenizer(models.Unigram())
        t.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
        t.pre_tokenizer = pre_tokenizers.Metaspace()
        t.decoder = decoders.Metaspace()
        t.train_from_iterator(lines, trainers.UnigramTrainer(
            vocab_size=400, unk_token="<unk>", special_tokens=["<pad>", "</s>", "<unk>"], **quiet))
        t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    elif name == "unigram-bytes":  # byte fallback
        t = trained("unigram")
        spec = json.loads(t.to_str())
        spec["model"]["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
        spec["model"]["byte_fallback"] = True
        t = Tokenizer.from_str(json.dumps(spec))
    elif name == "wordpiece":  # as BERT
        t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=20))
        t.normalizer = normalizers.BertNormalizer()
        t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        t.decoder = decoders.WordPiece()
        t.train_from_iterator(lines, trainers.WordPieceTrainer(
            vocab_size=500, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], **quiet))
        t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    elif name == "wordlevel":
        t = Tokenizer(models.WordLevel(unk_token="<unk>"))
        t.pre_tokenizer = pre_tokenizers.Whitespace()
        t.train_from_iterator(lines, trainers.WordLevelTrainer(vocab_size=300, special_tokens=["<unk>"], **quiet))
    elif name == "spm-bpe":  # as Llama 2: no pre-tokenizer, byte fallback, fused unknowns
        t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        t.train_from_iterator(lines[:40], trainers.BpeTrainer(
            vocab_size=500, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)], **quiet))
        t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    elif name == "unknowns-bpe":  # unknown characters one by one, suffix at the end of words
        t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
        t.normalizer = normalizers.Lowercase()
        t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()])
        t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], end_of_word_suffix="</w>", **quiet))
        t.decoder = decoders.BPEDecoder()
    elif name == "prefix-bpe":  # continuing_subword_prefix
        t = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=True))
        t.pre_tokenizer = pre_tokenizers.Whitespace()
        t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>"], continuing_subword_prefix="##", **quiet))
        t.decoder = decoders.WordPiece(cleanup=False)
    elif name == "roberta":  # byte-level with prefix space and every kind of added token
        t = Tokenizer(models.BPE())
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        t.train_from_iterator(lines, trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<s>", "<pad>", "</s>", "<unk>"], **quiet))
        t.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<r>", rstrip=True)])
        t.add_tokens([AddedToken("fox", single_word=True), AddedToken("qu", normalized=True), AddedToken("ow", normalized=False),
                      AddedToken("own f", normalized=False)])
        t.decoder = decoders.ByteLevel()
        t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    elif name == "white-added":  # added tokens that take white space from each other; no steps of decoding
        t = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
        t.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        t.add_tokens([AddedToken("\n", lstrip=True, rstrip=True), AddedToken("\t", rstrip=True), AddedToken("\u3000"),
                      AddedToken("\r", lstrip=True), AddedToken("x", single_word=True)])
        t.decoder = decoders.Sequence([])
    elif name == "partial-bytes":  # bytes spelled, not all of them in the vocabulary: fallback to bytes of the spelling
        fallback = [f"<0x{b:02X}>" for b in range(256)]
        t = Tokenizer(models.BPE({token: i for i, token in enumerate(fallback + list("abcdeĠ") + ["ab"])}, [("a", "b")], byte_fallback=True))
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        t.decoder = decoders.ByteFallback()
    elif name == "lower-added":  # added tokens found in normalised text
        t = trained("wordpiece")
        t.add_tokens([AddedToken("HELLO", normalized=True), AddedToken("World", normalized=False)])
    else:
        raise ValueError(name)
    return t


MODEL_TEXTS = TEXTS + [
    "<mask> a <mask>b <r>  c<r>d", "fox foxes Fox fox.", "the qu own fox brown f", "hello HELLO World world", "<unk><s>x",
    "unaufhörlich und ÜBERALL", "Menschenrechte sind frei geboren" * 3, "xyzw" * 12, "a  b   c    d", "日日日日",
    "\n\n\n", "a \n \n b", "\t\t\n \u3000\r", " \u3000 \n\u3000\r\t\u3000", "x\u200d x\u200c. x²x x",
]


def model_cases():
    out = []
    for name in ("unigram", "unigram-bytes", "wordpiece", "wordlevel", "spm-bpe", "unknowns-bpe", "prefix-bpe", "roberta", "lower-added",
                 "white-added", "partial-bytes"):
        t = trained(name)
        cases = []
        for text in MODEL_TEXTS:
            ids = t.encode(text, add_special_tokens=False).ids
            special = t.encode(text, add_special_tokens=True).ids
            if not ids and name == "unknowns-bpe":
                continue  # its decoder panics on nothing
            cases.append({"text": text, "ids": ids, "ids_special": special, "decoded": t.decode(ids, skip_special_tokens=False),
                          "decoded_skip": t.decode(special, skip_special_tokens=True)})
        out.append({"name": name, "tokenizer": json.loads(t.to_str()), "cases": cases})
    return out


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, value in (("components", components()), ("models", model_cases())):
        (OUT / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
