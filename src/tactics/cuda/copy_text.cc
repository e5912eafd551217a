// SPDX-License-Identifier: Apache-2.0
#include "tactics/cuda/copy_text.h"

#include <algorithm>

#include "tactics/cuda/moved_unit.h"

namespace redline {
namespace {

using Sizes = std::vector<SizeText>;

SizeText count_of(const Sizes& sizes) {
  SizeText count(1);
  for (const SizeText& size : sizes) count = count * size;
  return count;
}

// The element of a row of `sizes` at c0 + shift[0], c1 + shift[1], ...
std::string place_of(const Sizes& sizes, const Sizes& shift) {
  std::string text;
  SizeText stride(1);
  for (size_t axis = sizes.size(); axis-- > 0;) {
    text += str_cat(" + (c", axis, " + idx(", shift[axis], ")) * idx(", stride, ")");
    stride = stride * sizes[axis];
  }
  return text;
}

Sizes negated(const Sizes& sizes) {
  Sizes result;
  for (const SizeText& size : sizes) result.push_back(SizeText(0) - size);
  return result;
}

bool is_empty(const std::vector<int64_t>& sizes) { return CopyBoxes::count(sizes) == 0; }

// Each thread moves a few groups of lanes of a piece, all reads before all writes.
class CopyText {
 public:
  CopyText(const Problem& problem, const CopyBoxes& boxes, const CopyKnobs& knobs,
           const KernelSizes& sizes)
      : problem_(problem),
        boxes_(boxes),
        knobs_(knobs),
        sizes_(sizes),
        lanes_(knobs.gathered > 0 ? static_cast<int>(knobs.gathered) : boxes.lanes),
        whole_(named("whole", boxes.whole.size())) {
    type_ = str_cat("u", 8 * boxes.bytes);
    unit_ = moved_unit(lanes_, boxes.bytes);
    for (size_t i = 0; i < boxes.pieces.size(); ++i) {
      pieces_.push_back({named(str_cat("begin", i, "_"), boxes.whole.size()),
                         named(str_cat("size", i, "_"), boxes.whole.size())});
    }
  }

  std::string statements(const ElementWriter& writer) const {
    const ElementOperand& whole =
        writer.value(boxes_.from_whole ? 0 : static_cast<int>(problem_.inputs.size()));
    std::string text = "  wait_for_former();\n  release_next();\n";
    if (is_empty(boxes_.whole)) return text;
    text += "  const idx rows = idx(1)";
    for (size_t axis = 0; axis < boxes_.row_axes; ++axis) text += " * " + whole.dims[axis];
    text += str_cat(";\n  idx place[", knobs_.unroll, "];\n  const idx first = (idx)blockIdx.x * ",
                    knobs_.threads * knobs_.unroll, " + (int)threadIdx.x;\n");
    if (boxes_.fill) return text + fill_case();
    text += "  switch ((int)blockIdx.y) {\n";
    for (size_t i = 0; i < boxes_.pieces.size(); ++i) {
      text += str_cat("  case ", i, ": {\n", piece_case(i), "    break;\n  }\n");
    }
    return text + "  }\n";
  }

 private:
  struct Piece {
    Sizes begin, size;
  };

  Sizes named(const std::string& name, size_t count) const {
    Sizes result;
    for (size_t axis = 0; axis < count; ++axis) result.push_back(sizes_.size(str_cat(name, axis)));
    return result;
  }

  std::string held(std::string_view type, int count) const {
    return str_cat("  lanes_of<", type, ", ", count, "> held[", knobs_.unroll, "];\n");
  }
  std::string source(size_t operand) const { return str_cat("(const ", type_, "*)in", operand); }
  std::string target(size_t operand) const { return str_cat("(", type_, "*)out_raw", operand); }

  // Statements that take `rest` apart into c0, c1, ... along the axes of what is walked, the last
  // in groups of lanes.
  std::string coordinates(size_t walked, int lanes, bool fixed = true) const {
    std::string text;
    const char* type = fixed ? "const idx" : "idx";
    size_t rank = boxes_.whole.size();
    for (size_t axis = rank; axis-- > 0;) {
      std::string name = str_cat("steps", walked, "_", axis);
      std::string value = "rest";
      std::string next;
      if (axis > 0 && sizes_.size(name).known) {
        value = str_cat("rest % ", sizes_.size(name));
        next = str_cat("      rest /= ", sizes_.size(name), ";\n");
      } else if (axis > 0) {
        text += str_cat("      const idx rest", axis, " = ", sizes_.divided("rest", name), ";\n");
        value = str_cat("rest - rest", axis, " * ", sizes_.size(name));
        next = str_cat("      rest = rest", axis, ";\n");
      }
      if (axis + 1 == rank && lanes > 1) value = str_cat("(", value, ") * ", lanes);
      text += str_cat("      ", type, " c", axis, " = ", value, ";\n", next);
    }
    return text;
  }

  std::string each_group(size_t walked, const std::string& inside, size_t to) const {
    std::string name = str_cat("groups", walked);
    SizeText groups = sizes_.size(name);
    std::string text =
        str_cat(held(unit_.type, unit_.count), "#pragma unroll\n  for (int u = 0; u < ",
                knobs_.unroll, "; ++u) {\n    const idx group = first + u * ", knobs_.threads,
                ";\n    place[u] = -1;\n    if (group < rows * idx(", groups,
                ")) {\n      const idx row = ", sizes_.divided("group", name),
                ";\n      idx rest = group - row * idx(", groups, ");\n");
    return str_cat(text, inside, "    }\n  }\n#pragma unroll\n  for (int u = 0; u < ",
                   knobs_.unroll, "; ++u) {\n    if (place[u] >= 0) store_lanes((", unit_.type,
                   "*)(", target(to), " + place[u]), held[u]);\n  }\n");
  }

  std::string load(size_t operand, const std::string& place) const {
    return str_cat("load_lanes<", unit_.count, ">((const ", unit_.type, "*)(", source(operand),
                   " + (", place, ")));\n");
  }
  // held[u] has nothing but `value`.
  std::string filled() const {
    const char* of_bytes = unit_.bytes == boxes_.bytes ? ""
                           : boxes_.bytes == 1         ? " * 0x01010101u"
                                                       : " * 0x00010001u";
    return str_cat("    for (int i = 0; i < ", unit_.count, "; ++i) held[u].element[i] = value",
                   of_bytes, ";\n");
  }

  // The elements of a result, `own` by row, each from its place in rows of `other`, whose element 0
  // lies at -`shift` of the result's; the fill where that has none. Those of a word that lies in
  // one row are found and read together.
  std::string gathered_case(size_t walked, const Sizes& own, const Sizes& other, const Sizes& shift,
                            size_t from, size_t to) const {
    bool words = in_words(own, other);
    int step = words ? in_word() : 1;
    std::string name = str_cat("groups", walked);
    SizeText count = sizes_.size(name);
    size_t last = own.size() - 1;
    std::string each =
        str_cat("#pragma unroll\n  for (int u = 0; u < ", knobs_.unroll, "; ++u) {\n");
    std::string text = str_cat(
        words ? words_held() : held(type_, lanes_), "  const idx total = rows * idx(", count,
        ");\n", each, "    const idx at = (first + u * ", knobs_.threads, ") * ", lanes_,
        ";\n    place[u] = at < total ? at : -1;\n",
        "    if (at >= total) continue;\n    const idx row = ", sizes_.divided("at", name),
        ";\n    idx rest = at - row * idx(", count, ");\n", coordinates(walked, 1, false),
        "      idx source = row * idx(", count_of(other), ")", place_of(other, shift),
        ";\n#pragma unroll\n    for (int lane = 0; lane < ", lanes_, "; lane += ", step,
        ") {\n      const bool there = at + lane < total", boxes_.fill ? inside_test(last) : "");
    text += str_cat(";\n", words ? read_words(own, from) : read_element(from),
                    "      source += ", step, ";\n");
    SizeText stride(1);
    for (size_t axis = last + 1; axis-- > 0;) {
      text += str_cat("      if ((c", axis, " += ", axis == last ? step : 1, ") == idx(", own[axis],
                      ")) {\n      c", axis, " = 0;\n      source += idx(",
                      (other[axis] - own[axis]) * stride, ");\n");
      stride = stride * other[axis];
    }
    text += std::string(own.size(), '}') + "\n    }\n  }\n";
    // Of the last access only what the result has.
    return str_cat(text, each, "    if (place[u] < 0) continue;\n", words ? shifted_words() : "",
                   "    store_first_", words ? "words" : "lanes", "(", target(to),
                   " + place[u], held[u], total - place[u]);\n  }\n");
  }

  std::string read_element(size_t from) const {
    return str_cat(
        "      if (there", boxes_.fill ? inside_along(whole_.size() - 1) : "",
        ") {\n        held[u].element[lane] = (", source(from), ")[source];\n      }",
        boxes_.fill ? " else {\n        held[u].element[lane] = value;\n      }\n" : "\n");
  }

  // Elements of a unit.
  int in_word() const { return unit_.bytes / boxes_.bytes; }
  // Whether no word of the result is of two rows, and none of the source reaches behind it.
  bool in_words(const Sizes& own, const Sizes& other) const {
    int64_t word = in_word();
    SizeText all = count_of(other);
    const Dims& dims = problem_.outputs[0].dims;
    for (size_t axis = 0; axis < boxes_.row_axes; ++axis) {
      if (dims[axis] != kDynamicDim) all = all * SizeText(dims[axis]);
    }
    return word > 1 && own.back().known && *own.back().known % word == 0 && all.known &&
           *all.known % word == 0;
  }
  // Of the source, those in which words of the result begin and, where the next does not begin in
  // it, those behind them.
  std::string words_held() const {
    std::string size = str_cat("[", knobs_.unroll, "][", unit_.count, "]");
    return str_cat(held(unit_.type, unit_.count), "  u32 low", size, " = {}, high", size,
                   " = {}, wanted", size, " = {};\n  int bits", size, ";\n  bool alone", size,
                   ";\n");
  }
  // Statements that read what begins at `source`, of which what is no piece of a padded result is
  // not wanted.
  std::string read_words(const Sizes& own, size_t from) const {
    int word = in_word();
    size_t last = own.size() - 1;
    // Whether a word that begins `ahead` of the result's has something of the piece.
    auto in_piece = [&](const char* ahead) {
      if (!boxes_.fill) return std::string();
      const Piece& piece = pieces_[0];
      std::string begin = str_cat("c", last, " - behind", ahead);
      return str_cat(" && ", begin, " + ", word, " > idx(", piece.begin[last], ") && ", begin,
                     " < idx(", piece.begin[last] + piece.size[last], ")");
    };
    std::string text = str_cat(
        "      const int w = lane / ", word, ", behind = (int)(source & ", word - 1,
        ");\n      const u32* const word = (const u32*)(", source(from), " + (source - behind));\n",
        "      bits[u][w] = behind * ", 8 * boxes_.bytes, ";\n      alone[u][w] = lane + ", word,
        " == ", lanes_, " || c", last, " + ", word, " == idx(", own[last], ");\n      if (there",
        in_piece(""), ") low[u][w] = word[0];\n", "      if (there && behind > 0 && alone[u][w]",
        in_piece(str_cat(" + ", word).c_str()), ") high[u][w] = word[1];\n");
    if (!boxes_.fill) return text;
    return str_cat(text, "#pragma unroll\n      for (int i = 0; i < ", word,
                   "; ++i) {\n        if (there", inside_along(last, " + i"), ") wanted[u][w] |= (",
                   type_, ")~0u << i * ", 8 * boxes_.bytes, ";\n      }\n");
  }
  // Statements that make held[u] of them.
  std::string shifted_words() const {
    int words = unit_.count;
    return str_cat(boxes_.fill ? filled() : "", "#pragma unroll\n    for (int w = 0; w < ", words,
                   "; ++w) {\n      const u32 next = alone[u][w] ? high[u][w] : low[u][(w + 1) % ",
                   words, "];\n      const u32 word = shifted_word(low[u][w], next, bits[u][w]);\n",
                   boxes_.fill
                       ? "      held[u].element[w] = (held[u].element[w] & ~wanted[u][w]) | "
                         "(word & wanted[u][w]);\n"
                       : "      held[u].element[w] = word;\n",
                   "    }\n");
  }

  // Whether the first of c0, c1, ... are in the piece of a padded result.
  std::string inside_test(size_t axes) const {
    std::string text;
    for (size_t axis = 0; axis < axes; ++axis) text += inside_along(axis);
    return text;
  }
  std::string inside_along(size_t axis, std::string_view behind = "") const {
    const Piece& piece = pieces_[0];
    std::string place = str_cat("c", axis, behind);
    return str_cat(" && ", place, " >= idx(", piece.begin[axis], ") && ", place, " < idx(",
                   piece.begin[axis] + piece.size[axis], ")");
  }

  std::string piece_case(size_t i) const {
    const Piece& piece = pieces_[i];
    size_t operand = boxes_.pieces[i].operand;
    if (is_empty(boxes_.pieces[i].size)) return "";
    if (knobs_.gathered > 0) {
      return gathered_case(i, piece.size, whole_, piece.begin, 0, operand);
    }
    std::string text = coordinates(i, lanes_);
    std::string in_whole =
        str_cat("row * idx(", count_of(whole_), ")", place_of(whole_, piece.begin));
    std::string in_piece = str_cat("group * ", lanes_);
    bool from_whole = boxes_.from_whole;
    text += str_cat(
        "      held[u] = ", load(from_whole ? 0 : operand, from_whole ? in_whole : in_piece),
        "      place[u] = ", from_whole ? in_piece : in_whole, ";\n");
    return each_group(i, text, from_whole ? operand : 0);
  }

  std::string fill_case() const {
    const Piece& piece = pieces_[0];
    bool given = problem_.inputs.size() > 2 && problem_.inputs[2].present;
    std::string text =
        str_cat("  const ", type_,
                " value = ", given ? str_cat("*(", source(2), ")") : str_cat(type_, "(0)"), ";\n");
    Sizes shift = negated(piece.begin);
    if (knobs_.gathered > 0) {
      return text + gathered_case(0, whole_, piece.size, shift, 0, 0);
    }
    std::string inside = coordinates(0, lanes_);
    std::string place =
        str_cat("row * idx(", count_of(piece.size), ")", place_of(piece.size, shift));
    inside += str_cat("      if (true", inside_test(whole_.size()),
                      ") {\n        held[u] = ", load(0, place), "      } else {\n", filled(),
                      "      }\n      place[u] = group * ", lanes_, ";\n");
    return text + each_group(0, inside, 0);
  }

  const Problem& problem_;
  const CopyBoxes& boxes_;
  const CopyKnobs& knobs_;
  const KernelSizes& sizes_;
  int lanes_;
  MovedUnit unit_;
  Sizes whole_;
  std::vector<Piece> pieces_;
  std::string type_;
};

// What divides by sizes of the box whose elements threads go through.
void add_walked(KernelSizes& sizes, size_t walked, const std::vector<int64_t>& box, int lanes) {
  auto groups_of = [&](int64_t size) { return size == kDynamicDim ? size : size / lanes; };
  sizes.add_divisor(str_cat("groups", walked), groups_of(CopyBoxes::count(box)));
  for (size_t axis = 1; axis < box.size(); ++axis) {
    int64_t steps = axis + 1 == box.size() ? groups_of(box[axis]) : box[axis];
    sizes.add_divisor(str_cat("steps", walked, "_", axis), steps);
  }
}

}  // namespace

KernelSizes copy_sizes(const CopyBoxes& boxes, const CopyKnobs& knobs) {
  KernelSizes sizes = KernelSizes::indexed();
  auto add = [&](const std::string& name, const std::vector<int64_t>& values) {
    for (size_t axis = 0; axis < values.size(); ++axis)
      sizes.add(str_cat(name, axis), values[axis]);
  };
  add("whole", boxes.whole);
  int lanes = knobs.gathered > 0 ? 1 : boxes.lanes;
  if (boxes.fill) add_walked(sizes, 0, boxes.whole, lanes);
  for (size_t i = 0; i < boxes.pieces.size(); ++i) {
    add(str_cat("begin", i, "_"), boxes.pieces[i].begin);
    add(str_cat("size", i, "_"), boxes.pieces[i].size);
    if (!boxes.fill) add_walked(sizes, i, boxes.pieces[i].size, lanes);
  }
  return sizes;
}

std::string copy_statements(const Problem& problem, const CopyBoxes& boxes, const CopyKnobs& knobs,
                            const KernelSizes& sizes, const ElementWriter& writer) {
  return CopyText(problem, boxes, knobs, sizes).statements(writer);
}

}  // namespace redline
