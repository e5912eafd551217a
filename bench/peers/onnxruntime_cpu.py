# SPDX-License-Identifier: Apache-2.0
import onnxruntime

VERSION = onnxruntime.__version__
ERRORS_ONLY = 3


def prepare(model, feed, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = ERRORS_ONLY
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)
