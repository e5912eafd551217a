# SPDX-License-Identifier: Apache-2.0
import openvino

VERSION = openvino.__version__.split("-")[0]


def prepare(model, feed, threads):
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape({name: openvino.PartialShape(array.shape) for name, array in feed.items()})
    compiled = core.compile_model(
        network,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
    request = compiled.create_infer_request()

    def run(inputs):
        results = request.infer(inputs)
        return [results[output] for output in compiled.outputs]

    return run
