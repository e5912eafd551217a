// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "redline/tensor.h"  // part of the public API
