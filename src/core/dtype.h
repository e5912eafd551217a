// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "redline/dtype.h"  // part of the public API
