"""llama.cpp's own server with a tiny model: it knows which character follows which, nothing more.

A program of the environment that `make llama` makes, where nothing of ours can be imported: it
learns from the text of the first line of its input, a JSON string, writes the model as GGUF to the
path on its command line, prints the server's address, and serves until its input ends.

The model is a Llama of one layer whose attention and feed-forward parts are zero: a token's
embedding passes through as it is, and the output matrix holds the logarithms of how often each
token followed another. With the grammar that llama.cpp makes of a JSON schema its answers are JSON
of that schema, whose texts are the letters of a language that nobody speaks.
"""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import xllamacpp
from gguf import GGUFWriter, TokenType

SPACE = "▁"  # as SentencePiece writes it
SPECIAL = ["<unk>", "<s>", "</s>"]
CONTEXT = 16_384  # tokens
NEVER, SELDOM = 1e-6, 0.01  # counts for what does not follow in the text
FEED_FORWARD, HEADS = 32, 4


def main() -> None:
    """Learn, write the model, serve."""
    text, path = json.loads(sys.stdin.readline()), sys.argv[1]
    write(path, *learnt(text))
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx = CONTEXT
    parameters.cpuparams.n_threads = 1
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


def learnt(text: str) -> tuple[list[str], np.ndarray]:
    """Return the tokens, and for each the logarithms of how often the others follow it."""
    printable = {chr(code) for code in range(33, 127)}
    letters = [*sorted((set(text) | printable) - {"\n", " "}), SPACE]
    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    number = {token: place for place, token in enumerate(tokens)}
    number |= {" ": number[SPACE], "\n": number["<0x0A>"]}
    counts = np.full((len(tokens), len(tokens)), SELDOM)
    counts[:, : len(SPECIAL) + 256] = NEVER
    counts[:, number["\n"]] = SELDOM
    sequence = [number[letter] for letter in text]
    np.add.at(counts, (sequence[:-1], sequence[1:]), 1)
    return tokens, np.log(counts / counts.sum(axis=1, keepdims=True))


def write(path: str, tokens: list[str], logits: np.ndarray) -> None:
    """Write the model as a GGUF file."""
    size = math.ceil(len(tokens) / 32) * 32  # of an embedding, one place a token
    writer = GGUFWriter(path, "llama")
    _describe(writer, tokens, size)
    embeddings = np.zeros((len(tokens), size), np.float32)
    np.fill_diagonal(embeddings, 1)
    output = np.zeros_like(embeddings)
    # The norm before the output makes the 1 of an embedding the root of its size.
    output[:, : len(tokens)] = logits.T / math.sqrt(size)
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output.weight", output)
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(size, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((size, size), np.float32))
    for name in ("ffn_gate", "ffn_up"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((FEED_FORWARD, size), np.float32))
    writer.add_tensor("blk.0.ffn_down.weight", np.zeros((size, FEED_FORWARD), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: GGUFWriter, tokens: list[str], size: int) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(size)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(size // HEADS)
    writer.add_layer_norm_rms_eps(1e-9)
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * 256]
    kinds += [TokenType.NORMAL] * (len(tokens) - len(kinds))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "
    )


if __name__ == "__main__":
    main()
