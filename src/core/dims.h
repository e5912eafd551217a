// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "redline/dims.h"  // part of the public API
