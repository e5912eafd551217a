# SPDX-License-Identifier: Apache-2.0
"""The same parser as parser.cc, in Python: python parser.py net.txt"""

import sys

import numpy as np
import redline


def attribute(text):
    numbers = [int(item) for item in text.split(",")]
    return numbers[0] if len(numbers) == 1 else numbers


def parse(path):
    """An engine from a file of the format that net.txt describes."""
    builder = redline.GraphBuilder()
    values, weights = {}, {}

    def find(word):
        if word.endswith(":int"):
            return builder.constant(weights[word[:-4]].astype(np.int64))
        return values[word]

    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            builder.set_position(f"{path}:{number}")
            words = line.split("#")[0].split()
            if not words:
                continue
            if words[0] == "input":
                values[words[1]] = builder.input(words[1], np.float32, words[2:])
            elif words[0] == "weights":
                at = words.index("=")
                shape = [int(word) for word in words[2:at]]
                weights[words[1]] = np.array(words[at + 1 :], np.float32).reshape(shape)
                values[words[1]] = builder.constant(weights[words[1]], words[1])
            elif words[0] == "output":
                builder.output(values[words[1]], words[1])
            else:
                operands = [find(word) for word in words[3:] if "=" not in word]
                keys = dict(word.split("=") for word in words[3:] if "=" in word)
                attributes = {key: attribute(text) for key, text in keys.items()}
                values[words[0]] = builder.op(words[2], operands, name=words[0], **attributes)
    return builder.build()


def main():
    session = parse(sys.argv[1]).create_session()
    ramp = np.arange(2 * 16, dtype=np.float32).reshape(2, 1, 4, 4) / 10
    for name, value in session.run({"image": ramp}).items():
        print(name, list(value.shape))
        print(" ".join(f"{v:.6f}" for v in value.ravel()))


if __name__ == "__main__":
    main()
