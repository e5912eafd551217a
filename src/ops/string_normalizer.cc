// SPDX-License-Identifier: Apache-2.0
#include "ops/string_normalizer.h"

#include <clocale>
#include <cwctype>
#include <memory>
#include <unordered_set>

#include "ops/copy_elements.h"
#include "ops/op.h"
#include "ops/utf8.h"

namespace redline {
namespace {

Status infer_string_normalizer(InferContext& c) {
  REDLINE_TRY(c.expect_tensor(0));
  if (c.dtype(0) != DType::kString) return c.input_error(0, "must hold strings");
  const Shape& in = c.shape(0);
  c.set_output(0, DType::kString, Shape());
  if (!in.has_rank()) return {};
  bool row = in.rank() == 2 && (!in[0].is_const() || in[0].value() == 1);
  if (in.rank() != 1 && !row) return c.input_error(0, "must have the sizes [C] or [1,C]");
  SymDims out = in.dims();
  Dim& count = out.back();
  bool drops_none = c.attrs<StringNormalizerAttrs>().stopwords.empty();
  if (!drops_none || count.lower_bound() < 1) count = c.fresh_symbol("kept");
  if (row) out[0] = Dim(1);
  c.set_output(0, DType::kString, std::move(out));
  return {};
}

// Changes the case of UTF-8 text, letter by letter. The library's own tables are used, independent
// of the program's locale.
class CaseTables {
 public:
  static Result<CaseTables> create() {
    CaseTables tables;
    tables.locale_.reset(newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr));
    if (tables.locale_ == nullptr)
      return not_found("the locale C.UTF-8, which tells upper from lower case");
    return tables;
  }
  std::string change(std::string_view text, CaseChange change) const {
    std::string result;
    while (!text.empty()) {
      auto letter = static_cast<wint_t>(read_utf8(text));
      if (change == CaseChange::kLower) letter = towlower_l(letter, locale_.get());
      if (change == CaseChange::kUpper) letter = towupper_l(letter, locale_.get());
      write_utf8(static_cast<char32_t>(letter), result);
    }
    return result;
  }

 private:
  struct Free {
    void operator()(locale_t locale) const { freelocale(locale); }
  };
  std::unique_ptr<std::remove_pointer_t<locale_t>, Free> locale_;
};

Status reference_string_normalizer(ReferenceContext& c) {
  const auto& attrs = c.attrs<StringNormalizerAttrs>();
  REDLINE_ASSIGN(CaseTables tables, CaseTables::create());
  auto key = [&](const std::string& text) {
    return attrs.is_case_sensitive ? text : tables.change(text, CaseChange::kLower);
  };
  std::unordered_set<std::string> stop_words;
  for (const std::string& word : attrs.stopwords) stop_words.insert(key(word));
  std::vector<std::string> kept;
  for (const std::string& text : c.input(0).span<const std::string>()) {
    if (!stop_words.empty() && stop_words.contains(key(text))) continue;
    kept.push_back(attrs.case_change_action == CaseChange::kNone
                       ? text
                       : tables.change(text, attrs.case_change_action));
  }
  if (kept.empty()) kept.emplace_back();
  auto count = static_cast<int64_t>(kept.size());
  Dims dims = c.input(0).dims.rank() == 2 ? Dims{1, count} : Dims{count};
  REDLINE_ASSIGN(TensorView out, output_of_size(c, 0, DType::kString, dims));
  std::move(kept.begin(), kept.end(), out.as<std::string>());
  return {};
}

}  // namespace

void register_op_string_normalizer(OpRegistry& registry) {
  registry.add({.name = "string_normalizer",
                .inputs = {{"x"}},
                .outputs = {{"y"}},
                .attrs = attrs_type<StringNormalizerAttrs>(),
                .traits = kTraitDataDependent,
                .infer = infer_string_normalizer,
                .reference = reference_string_normalizer});
}

}  // namespace redline
