// SPDX-License-Identifier: Apache-2.0
// Compiles only when base/nvtx_api.h says what NVTX's own headers say.
#include "base/nvtx_api.h"

#include <nvtx3/nvToolsExt.h>

#include <cstddef>

namespace redline::nvtx {

#define SAME(ours, theirs) static_assert(static_cast<int>(ours) == static_cast<int>(theirs))
SAME(kVersion, NVTX_VERSION);
SAME(kCallbacksTable, NVTX_ETID_CALLBACKS);
SAME(kVersionTable, NVTX_ETID_VERSIONINFO);
SAME(kDomains, NVTX_CB_MODULE_CORE2);
SAME(kModules, NVTX_CB_MODULE_SIZE);
SAME(kDomainRangePush, NVTX_CBID_CORE2_DomainRangePushEx);
SAME(kDomainRangePop, NVTX_CBID_CORE2_DomainRangePop);
SAME(kDomainRegisterString, NVTX_CBID_CORE2_DomainRegisterStringA);
SAME(kDomainCreate, NVTX_CBID_CORE2_DomainCreateA);
SAME(kTableSizes[NVTX_CB_MODULE_CORE], NVTX_CBID_CORE_SIZE);
SAME(kTableSizes[NVTX_CB_MODULE_CUDA], NVTX_CBID_CUDA_SIZE);
SAME(kTableSizes[NVTX_CB_MODULE_OPENCL], NVTX_CBID_OPENCL_SIZE);
SAME(kTableSizes[NVTX_CB_MODULE_CUDART], NVTX_CBID_CUDART_SIZE);
SAME(kTableSizes[NVTX_CB_MODULE_CORE2], NVTX_CBID_CORE2_SIZE);
SAME(kTableSizes[NVTX_CB_MODULE_SYNC], NVTX_CBID_SYNC_SIZE);
SAME(kTextMessage, NVTX_MESSAGE_TYPE_ASCII);
SAME(kRegisteredMessage, NVTX_MESSAGE_TYPE_REGISTERED);

#define SAME_PLACE(ours, theirs) \
  SAME(offsetof(EventAttributes, ours), offsetof(nvtxEventAttributes_t, theirs))
SAME(sizeof(EventAttributes), sizeof(nvtxEventAttributes_t));
SAME_PLACE(size, size);
SAME_PLACE(category, category);
SAME_PLACE(color, color);
SAME_PLACE(payload, payload);
SAME_PLACE(message_type, messageType);
SAME_PLACE(message, message);
SAME(sizeof(Callbacks), sizeof(NvtxExportTableCallbacks));
SAME(offsetof(Callbacks, get_module_function_table),
     offsetof(NvtxExportTableCallbacks, GetModuleFunctionTable));
SAME(sizeof(VersionInfo), sizeof(NvtxExportTableVersionInfo));
SAME(offsetof(VersionInfo, version), offsetof(NvtxExportTableVersionInfo, version));

}  // namespace redline::nvtx
