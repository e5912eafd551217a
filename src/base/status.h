// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "redline/status.h"  // part of the public API
