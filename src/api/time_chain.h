// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "build/build.h"

namespace redline {

// Makes plans ready on that GPU with random inputs. The registry and the pool must outlive the
// result and its chains.
MakeChain gpu_chain_maker(const TacticRegistry& tactics, ThreadPool& pool,
                          cuda::ContextPtr context);

}  // namespace redline
