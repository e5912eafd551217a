# SPDX-License-Identifier: Apache-2.0
import redline

VERSION = redline.__version__


def prepare(model, feed, threads):
    session = redline.load(model, device="cpu", threads=threads)
    return lambda inputs: list(session.run(inputs).values())
