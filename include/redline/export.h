// SPDX-License-Identifier: Apache-2.0
#pragma once

// What the shared libraries export.
#define REDLINE_API [[gnu::visibility("default")]]
