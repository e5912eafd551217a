// SPDX-License-Identifier: Apache-2.0
#include "kernels/cpu/gemm/gemm.h"

#include <string>

#include "tactics/cpu/loop_kernel.h"
#include "tactics/knob.h"

namespace redline {
namespace {

constexpr int64_t kMaxGemvRows = 4;

const kernels::GemmKernels& gemm_table() { return kernels::gemm_kernels(kernels::detect_isa()); }

// matmul(a [..., m, k], b [..., k, n]) with sizes as products of batches, or as one product when b
// is shared by all.
struct Product {
  int64_t batches = 1, m = 1, n = 1, k = 1;
  Dims batch_dims;            // of the output, without those that are one long matrix
  Dims a_strides, b_strides;  // matrices, by batch dim; 0 where broadcast
};

Status supports(const Problem& problem) {
  for (const OperandDesc& input : problem.inputs) REDLINE_TRY(expect_f32(input));
  for (size_t i : {0, 1}) {
    if (problem.inputs[i].dims.rank() < 2) return unsupported("products with a vector");
  }
  return {};
}

Product product_of(const Problem& problem) {
  const Dims& a = problem.inputs[0].dims;
  const Dims& b = problem.inputs[1].dims;
  const Dims& out = problem.outputs[0].dims;
  Product p;
  p.k = a.back();
  p.n = b.back();
  if (b.rank() == 2) {
    p.m = a.count(0, a.rank() - 1);
    return p;
  }
  int batch_rank = out.rank() - 2;
  p.m = a[a.size() - 2];
  p.batch_dims = Dims(std::span(out.begin(), static_cast<size_t>(batch_rank)));
  p.batches = p.batch_dims.count();
  auto strides = [batch_rank](const Dims& dims) {
    Dims result;
    result.resize(batch_rank);
    int64_t stride = 1;
    for (int d = dims.rank() - 3; d >= 0; --d) {
      int64_t size = dims[static_cast<size_t>(d)];
      result[static_cast<size_t>(batch_rank - (dims.rank() - 2) + d)] = size == 1 ? 0 : stride;
      stride *= size;
    }
    return result;
  };
  p.a_strides = strides(a);
  p.b_strides = strides(b);
  return p;
}

// How the weights lie: the packed form depends on the instruction set.
std::string packing_name(bool rows) {
  if (rows) return "rows";
  return str_cat("panels ", kernels::isa_name(kernels::detect_isa()));
}

// For one to four rows the weights are transposed and read once, at the speed of memory.
Result<std::vector<PackedOperand>> pack(const Problem& problem, Config& config,
                                        const PrepareArgs&) {
  const OperandDesc& b = problem.inputs[1];
  if (b.constant == nullptr || b.dims.rank() != 2 || b.dims.count() == 0) {
    return std::vector<PackedOperand>();
  }
  const Dims& a = problem.inputs[0].dims;
  bool few_rows = true;
  int64_t m = 1;
  for (size_t d = 0; d + 1 < a.size(); ++d) {
    if (a[d] == kDynamicDim || a[d] > kMaxGemvRows) few_rows = false;
    if (few_rows) m *= a[d];
  }
  few_rows = few_rows && m <= kMaxGemvRows;
  int64_t k = b.dims[0];
  int64_t n = b.dims[1];
  int64_t elems = few_rows ? k * n : gemm_table().packed_elems(k, n);
  REDLINE_ASSIGN(Tensor bytes, Tensor::create(DType::kUInt8, {elems * 4}));
  auto* to = static_cast<float*>(bytes.mutable_raw());
  const auto* from = b.constant->data<float>();
  if (few_rows) {
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < n; ++j) to[j * k + i] = from[i * n + j];
    }
  } else {
    gemm_table().pack(from, n, false, k, n, to);
  }
  config.push_back({"weights", packing_name(few_rows)});
  std::vector<PackedOperand> packed;
  packed.push_back({1, std::move(bytes), packing_name(few_rows)});
  return packed;
}

// c = a * b with packed weights.
void run_gemm(const kernels::GemmKernels& table, const Product& p, const float* a, const float* b,
              float* c, ThreadPool& pool) {
  kernels::GemmArgs args;
  args.a = a;
  args.packed_b = b;
  args.c = c;
  args.m = p.m;
  args.n = p.n;
  args.k = p.k;
  args.lda = p.k;
  args.ldc = p.n;
  int64_t units = table.units(p.m, p.n);
  int64_t work = std::max<int64_t>(1, p.m * p.n * p.k / std::max<int64_t>(units, 1));
  pool.parallel_for(units, std::max<int64_t>(1, 200000 / work),
                    [&](int64_t begin, int64_t end) { table.gemm(args, begin, end); });
}

std::unique_ptr<Kernel> make_packed_kernel(const Product& p) {
  return make_loop_kernel([p, &table = gemm_table()](const KernelArgs& args) {
    run_gemm(table, p, args.inputs[0].as<const float>(), args.inputs[1].as<const float>(),
             args.outputs[0].as<float>(), *args.pool);
    return Status();
  });
}

std::unique_ptr<Kernel> make_rows_kernel(const Product& p) {
  return make_loop_kernel([p, &table = gemm_table()](const KernelArgs& args) {
    kernels::GemvArgs rows;
    rows.b = args.inputs[1].as<const float>();
    rows.n = p.n;
    rows.k = p.k;
    rows.lda = rows.ldb = p.k;
    rows.ldc = p.n;
    for (int64_t row = 0; row < p.m; row += kMaxGemvRows) {
      rows.a = args.inputs[0].as<const float>() + row * p.k;
      rows.c = args.outputs[0].as<float>() + row * p.n;
      rows.m = std::min(kMaxGemvRows, p.m - row);
      args.pool->parallel_for(p.n, std::max<int64_t>(16, loop_grain(p.k * 4) / 16 * 16),
                              [&](int64_t begin, int64_t end) { table.gemv(rows, begin, end); });
    }
    return Status();
  });
}

// Right-hand matrices that are not weights: each is packed, then multiplied, by one thread (or, of
// a single product, by all).
class BatchKernel final : public Kernel {
 public:
  BatchKernel(Product p, int threads)
      : p_(p),
        table_(gemm_table()),
        packed_elems_((table_.packed_elems(p_.k, p_.n) + 15) / 16 * 16),
        buffers_(p_.batches > 1 ? threads : 1) {}

  size_t workspace_bytes() const override {
    return static_cast<size_t>(packed_elems_ * buffers_) * sizeof(float);
  }

  Status run(const KernelArgs& args) const override {
    const auto* a = args.inputs[0].as<const float>();
    const auto* b = args.inputs[1].as<const float>();
    auto* c = args.outputs[0].as<float>();
    auto* packed = static_cast<float*>(args.workspace);
    if (p_.batches == 1) {
      table_.pack(b, p_.n, false, p_.k, p_.n, packed);
      run_gemm(table_, p_, a, packed, c, *args.pool);
      return {};
    }
    int64_t grain = std::max<int64_t>(1, 200000 / std::max<int64_t>(1, p_.m * p_.n * p_.k));
    args.pool->parallel_for_worker(p_.batches, grain, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t i = begin; i < end; ++i) {
        multiply(a, b, c, i, packed + worker * packed_elems_);
      }
    });
    return {};
  }

 private:
  void multiply(const float* a, const float* b, float* c, int64_t batch, float* packed) const {
    int64_t a_matrix = 0;
    int64_t b_matrix = 0;
    int64_t rest = batch;
    for (size_t d = p_.batch_dims.size(); d-- > 0;) {
      a_matrix += rest % p_.batch_dims[d] * p_.a_strides[d];
      b_matrix += rest % p_.batch_dims[d] * p_.b_strides[d];
      rest /= p_.batch_dims[d];
    }
    table_.pack(b + b_matrix * p_.k * p_.n, p_.n, false, p_.k, p_.n, packed);
    kernels::GemmArgs args;
    args.a = a + a_matrix * p_.m * p_.k;
    args.packed_b = packed;
    args.c = c + batch * p_.m * p_.n;
    args.m = p_.m;
    args.n = p_.n;
    args.k = p_.k;
    args.lda = p_.k;
    args.ldc = p_.n;
    table_.gemm(args, 0, table_.units(p_.m, p_.n));
  }

  Product p_;
  const kernels::GemmKernels& table_;
  int64_t packed_elems_;
  int64_t buffers_;
};

Result<std::unique_ptr<Kernel>> prepare(const Problem& problem, const Config& config,
                                        const PrepareArgs& args) {
  Product p = product_of(problem);
  if (problem.outputs[0].dims.count() == 0) {
    return make_loop_kernel([](const KernelArgs&) { return Status(); });
  }
  const Tensor* packed = problem.inputs[1].packed;
  if (packed == nullptr) {
    return std::unique_ptr<Kernel>(std::make_unique<BatchKernel>(p, args.num_threads()));
  }
  const auto* name = find_knob<std::string>(config, "weights");
  bool rows = name != nullptr && *name == packing_name(true);
  if (name == nullptr || (!rows && *name != packing_name(false))) {
    return incompatible("weights were packed as ", name ? *name : "nothing known",
                        ", this machine takes ", packing_name(false), "; build the engine again");
  }
  int64_t elems = rows ? p.k * p.n : gemm_table().packed_elems(p.k, p.n);
  if (problem.inputs[1].dims.rank() != 2 || packed->count() != elems * 4) {
    return invalid_argument("packed weights of ", packed->count(), " bytes, expected ", elems * 4);
  }
  return rows ? make_rows_kernel(p) : make_packed_kernel(p);
}

}  // namespace

void register_tactic_gemm(TacticRegistry& registry) {
  registry.add({.name = "cpu.gemm",
                .device = "cpu",
                .ops = {"matmul"},
                .supports = supports,
                .pack = pack,
                .prepare = prepare,
                .preference = 10});
}

}  // namespace redline
