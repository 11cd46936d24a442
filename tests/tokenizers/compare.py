"""Strix's SentencePiece against the sentencepiece package, on models and texts made here.

    pip install sentencepiece protobuf
    cargo build -p strix-tests --bin tokens
    python tests/tokenizers/compare.py [--models 400] [--seed 1] [--binary target/debug/tokens] [--cases cases.json]

Trains small models of every kind, edits their protos by hand, and asks both for the ids of texts and the texts of ids.
Prints, by kind, how many models Strix refused and how many texts differed; exit code 1 if one differed. --cases FILE
writes the small models of `cases.json` instead, which a test of the model reads.
"""

import argparse
import base64
import collections
import io
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2 as pb

WORDS = """the of and to in a is that for it as was with be by on not he his but at are this have from or had an they
which one you were all her she there would their we him been has when who will no more if out so up said what its about
than into them can only other time new some could these two may first then do any like my now over such our man me even
most made after also did many off before must well back through years where much your way down should because long each
those people picture triangle circle square red green blue yellow left right above below größer straße café naïve
привет мир как дела 漢字 日本語 かな 中文 字符 עברית العربية हिन्दी ไทย 🦉 👩‍🔬 🙂 x1 y2 3.14 100 2023 def return self
class import if else print(f"{x}") </s> <s> <unk> [INST] A. B. C. don't it's we're""".split()
SPACES = [" ", " ", " ", " ", "  ", "   ", "\n", "\t", "\u3000", "\u00a0", "    ", "\r\n", " \u2581", "\u2581"]
USER_DEFINED = ["  ", "   ", "\u2581\u2581", "\u2581\u2581\u2581\u2581", "[INST]", "<|im|>", "tri", "tria", "rian",
                "a b", " x", "x ", "\u2581the", "the\u2581", "\n", "\t", "漢", "e", "<s", " ", "\u2581", "1", "🦉", "th"]


def corpus(rng):
    return "\n".join("".join(rng.choice(WORDS) + rng.choice(SPACES) for _ in range(12)) for _ in range(200))


def texts(rng, user_defined):
    parts = WORDS + SPACES * 4 + user_defined * 6 + ["\u202e", "\0", "\ufffd", "\U0010ffff", "ß", "e\u0301"]
    made = ["", " ", "  ", "\u2581", " a", "a ", "  a  b  ", "<s>a</s> b<unk>c", "\n", "aaaa aaa aa a", "the  triangle"]
    for _ in range(30):
        made.append("".join(rng.choice(parts) for _ in range(rng.randint(1, 14))))
        made.append("".join(rng.choice("abtherin \u2581") for _ in range(rng.randint(1, 24))))
    return [text for text in made if "\0" not in text]


def train(rng, user_defined):
    options = dict(
        model_type="bpe" if rng.random() < 0.85 else rng.choice(["unigram", "char", "word"]),
        byte_fallback=rng.random() < 0.6,
        add_dummy_prefix=rng.random() < 0.7,
        remove_extra_whitespaces=rng.random() < 0.5,
        normalization_rule_name="identity" if rng.random() < 0.85 else rng.choice(["nmt_nfkc", "nfkc", "nmt_nfkc_cf"]),
        split_digits=rng.random() < 0.5,
        split_by_whitespace=rng.random() < 0.6,
        split_by_unicode_script=rng.random() < 0.6,
        split_by_number=rng.random() < 0.6,
        allow_whitespace_only_pieces=rng.random() < 0.5,
        treat_whitespace_as_suffix=rng.random() < 0.08,
        character_coverage=rng.choice([0.98, 0.9995, 1.0]),
        control_symbols=rng.choice([[], ["[CTRL]", "<pad>"]]),
        user_defined_symbols=[piece for piece in user_defined if piece.strip(" ")],
    )
    out = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus(rng).split("\n")), model_writer=out, vocab_size=rng.randint(420, 900),
        hard_vocab_limit=False, minloglevel=2, num_threads=1, **options)
    return out.getvalue()


def scores(rng, proto):
    how = rng.choice(["ties", "zero", "random", "negative zero", "inf"])
    for piece in proto.pieces:
        if piece.type == pb.ModelProto.SentencePiece.NORMAL:
            piece.score = {"ties": float(rng.randint(-3, 0)), "zero": 0.0, "random": rng.random(),
                           "negative zero": rng.choice([0.0, -0.0]), "inf": rng.choice([float("-inf"), 0.0, 1.0])}[how]
    return f"scores: {how}"


def add(proto, text, kind, score=0.0):
    if all(piece.piece != text for piece in proto.pieces):
        proto.pieces.add(piece=text, type=kind, score=score)


def edit(rng, proto, user_defined):
    """Changes a model by hand and says how."""
    kind = pb.ModelProto.SentencePiece
    how = rng.choice(["scores", "user-defined", "spaces user-defined", "flags", "control", "unused", "bytes missing",
                      "byte_fallback off", "unk", "special", "normal pieces", "type", "plain"])
    normal = [piece for piece in proto.pieces if piece.type == kind.NORMAL]
    if how == "scores":
        return scores(rng, proto)
    if how == "user-defined":
        for text in user_defined:
            add(proto, text, kind.USER_DEFINED, rng.choice([0.0, -1.0, 5.0]))
    elif how == "spaces user-defined":
        proto.normalizer_spec.remove_extra_whitespaces = True
        for text in rng.sample(["  ", "   ", " ", "\u2581\u2581", "\u2581", "\u2581\u2581\u2581", "a  ", "  a", " a "], 4):
            add(proto, text, kind.USER_DEFINED)
    elif how == "flags":
        proto.normalizer_spec.add_dummy_prefix = rng.random() < 0.5
        proto.normalizer_spec.remove_extra_whitespaces = rng.random() < 0.5
        proto.normalizer_spec.escape_whitespaces = rng.random() < 0.5
    elif how == "control":
        for piece in rng.sample(normal, min(5, len(normal))):
            piece.type = kind.CONTROL
    elif how == "unused":
        for piece in rng.sample(normal, min(5, len(normal))):
            piece.type = kind.UNUSED
    elif how == "bytes missing":
        found = [i for i, piece in enumerate(proto.pieces) if piece.type == kind.BYTE]
        for at in reversed(found[:: rng.choice([1, 2, 100])]):
            proto.pieces[at].type = kind.NORMAL
    elif how == "byte_fallback off":
        proto.trainer_spec.byte_fallback = not proto.trainer_spec.byte_fallback
    elif how == "unk":
        rng.choice(proto.pieces[3:]).type = kind.UNKNOWN
    elif how == "special":
        proto.trainer_spec.unk_id, proto.trainer_spec.bos_id = rng.choice([(0, 5), (1, 0), (5, 1), (0, -1)])
    elif how == "normal pieces":
        for text in ["aab", "ab", "aa", "aaaa", "the\u2581t", "\u2581\u2581", "\u2581\u2581\u2581", "\n\n", "<s>a"]:
            add(proto, text, kind.NORMAL, rng.choice([0.0, -2.0, -5.0, 3.0]))
    elif how == "type":
        for piece in rng.sample(normal, min(8, len(normal))):
            piece.type = kind.USER_DEFINED
    return how


def encode(model, text):
    """As the slow LlamaTokenizer of transformers, legacy: the text between special tokens, each part on its own."""
    specials = {model.id_to_piece(id): id for id in (model.unk_id(), model.bos_id(), model.eos_id())}
    ids = []
    while text:
        found = [(text.find(special), id, special) for special, id in specials.items() if special in text]
        at, id, special = min(found) if found else (len(text), None, "")
        if at:
            ids += model.encode(text[:at])
        if special:
            ids.append(id)
        text = text[at + len(special):]
    return ids


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--models", type=int, default=400)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--binary", default="target/debug/tokens")
    args.add_argument("--cases")
    args = args.parse_args()
    rng = random.Random(args.seed)
    if args.cases:
        return cases(args.cases, rng)
    asked, wanted = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.models):
            user_defined = rng.sample(USER_DEFINED, rng.randint(0, 6))
            bytes_ = train(rng, user_defined)
            how = "as trained"
            if rng.random() < 0.7:
                proto = pb.ModelProto.FromString(bytes_)
                how = edit(rng, proto, user_defined)
                bytes_ = proto.SerializeToString()
            proto = pb.ModelProto.FromString(bytes_)
            path = Path(folder) / f"{number}.model"
            path.write_bytes(bytes_)
            spec, norm = proto.trainer_spec, proto.normalizer_spec
            kind = ["", "unigram", "bpe", "word", "char"][spec.model_type]
            flags = " charsmap" * bool(norm.precompiled_charsmap) + " suffix" * spec.treat_whitespace_as_suffix
            inputs = texts(rng, user_defined)
            try:
                model = spm.SentencePieceProcessor(model_proto=bytes_)
                assert min(model.unk_id(), model.bos_id(), model.eos_id()) >= 0
            except Exception:
                model = None
            ids = [[rng.randrange(len(proto.pieces)) for _ in range(rng.randint(1, 12))] for _ in range(40)]
            want = {"loads": model is not None, "kind": f"{kind}{flags}, {how}"}
            if model:
                # Strix leaves <unk> out of texts, as transformers does.
                ids = [[id for id in line if id != model.unk_id()] for line in ids]
                want["ids"] = [encode(model, text) for text in inputs]
                want["texts"] = [model.decode(line) for line in ids]
            asked.append({"model": str(path), "legacy": True, "texts": inputs, "ids": ids})
            wanted.append(want)
        lines = "".join(json.dumps(line) + "\n" for line in asked)
        answers = subprocess.run([args.binary], input=lines, capture_output=True, text=True, check=True).stdout
        answers = [json.loads(line) for line in answers.splitlines()]
        assert len(answers) == len(asked)
        differ = report(asked, wanted, answers)
    sys.exit(1 if differ else 0)


def report(asked, wanted, answers):
    sums = collections.defaultdict(lambda: [0] * 6)
    shown = 0
    reasons = collections.Counter()
    for line, want, got in zip(asked, wanted, answers):
        sum_ = sums[want["kind"]]
        sum_[0] += 1
        if "refused" in got:
            sum_[1] += 1
            reasons[got["refused"].split(": ", 1)[1].split(",")[0][:60]] += 1
            continue
        if not want["loads"]:
            sum_[2] += 1
            print(f"loaded, though sentencepiece does not: {want['kind']}")
            continue
        for what, inputs, at in (("ids", line["texts"], 3), ("texts", line["ids"], 4)):
            for input_, a, b in zip(inputs, want[what], got[what]):
                sum_[at] += 1
                if a != b:
                    sum_[5] += 1
                    shown += 1
                    if shown <= 20:
                        print(f"{want['kind']}: {what} of {input_!r}\n  want {a}\n  got  {b}")
    print(f"{'kind':<46} models refused only-here  texts   ids  differ")
    for kind, row in sorted(sums.items()):
        print(f"{kind:<46} {row[0]:>6} {row[1]:>7} {row[2]:>9} {row[3]:>6} {row[4]:>5} {row[5]:>7}")
    total = [sum(row[i] for row in sums.values()) for i in range(6)]
    print(f"{'all':<46} {total[0]:>6} {total[1]:>7} {total[2]:>9} {total[3]:>6} {total[4]:>5} {total[5]:>7}")
    for reason, count in reasons.most_common():
        print(f"{count:>5} refused: {reason}")
    return total[2] + total[5]


def cases(path, rng):
    """Writes small models, texts and ids with what sentencepiece makes of them, for a test."""
    kinds = pb.ModelProto.SentencePiece
    models = []
    while len(models) < 14:
        proto = pb.ModelProto()
        proto.trainer_spec.model_type = pb.TrainerSpec.BPE
        norm = proto.normalizer_spec
        norm.add_dummy_prefix = rng.random() < 0.6
        norm.remove_extra_whitespaces = rng.random() < 0.7
        norm.escape_whitespaces = rng.random() < 0.8
        for text, kind in (("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)):
            add(proto, text, kind)
        parts = ["a", "b", "c", "\u2581", " "]
        for text in parts[: rng.choice([4, 5, 5])] + ["".join(rng.choices(parts, k=rng.choice([2, 2, 3, 4]))) for _ in range(12)]:
            add(proto, text, kinds.NORMAL, float(rng.randint(-2, 0)))
        for text in rng.sample(["  ", "   ", " ", "\u2581\u2581", "\u2581", "a  ", "  a", " a ", "ab", "abc", "\u2581a", "bc\u2581"], 4):
            add(proto, text, kinds.USER_DEFINED)
        model = spm.SentencePieceProcessor(model_proto=proto.SerializeToString())
        inputs = ["", " ", "   a  b ", "".join(rng.choices("abc   \u2581", k=16)), "".join(rng.choices("aab xy  ", k=12)),
                  "".join(rng.choices("abc ", k=20))]
        ids = [[rng.randrange(3, len(proto.pieces)) for _ in range(6)] for _ in range(3)]
        models.append({
            "flags": [norm.add_dummy_prefix, norm.remove_extra_whitespaces, norm.escape_whitespaces],
            "pieces": [[piece.piece, piece.score, piece.type] for piece in proto.pieces[3:]],
            "encode": [[text, model.encode(text)] for text in inputs],
            "decode": [[line, model.decode(line)] for line in ids],
        })
    lines = ",\n".join(json.dumps(model, ensure_ascii=False, separators=(",", ":")) for model in models)
    Path(path).write_text(f'{{"sentencepiece": "{spm.__version__}", "models": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
