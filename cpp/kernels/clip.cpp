#include "kernels/clip.hpp"

#include <algorithm>
#include <cmath>

namespace pydual {
namespace {

constexpr int kPasses = 3;
constexpr double kAboveRounding = 1e-9;  // what closes the part that is cut off must exceed this
constexpr double kHeavy = 1e-3;          // of the greatest weight, and of the interval: inputs with less are not clipped
constexpr double kHair = 1e-4;            // of the interval, kept beyond what the lines allow

}  // namespace

Clipper::Clipper(const Program& program, const Form& margins, const ClipOptions& options)
    : margins_(margins), options_(options), lines_(2 * static_cast<std::size_t>(margins.size)), low_(program.inputs), high_(program.inputs) {
    for (std::size_t l = 0; l < lines_.size(); ++l) {
        lines_[l].margin = static_cast<std::int32_t>(l / 2);
        lines_[l].adaptive = l % 2;
        lines_[l].coefficients.resize(program.inputs);
    }
    heavy_.reserve(program.inputs);
}

// c + a.x of every margin over the box, with the inputs that are not heavy at their best ends.
void Clipper::read_lines(const double* low, const double* high, const ZonotopeSpace& space) {
    const int inputs = static_cast<int>(low_.size());
    const int rows = margins_.size;
    const int width = space.widths.back();
    for (Line& line : lines_) {
        const int m = line.margin;
        std::vector<double>& a = line.coefficients;
        double least;
        if (line.adaptive) {
            for (int i = 0; i < inputs; ++i) a[i] = space.after[0][static_cast<long>(i) * rows + m];
            least = space.bound[m];
        } else {
            const double* const row = space.result.data() + static_cast<long>(m) * space.stride;
            least = row[0];
            for (int g = 1; g < width; ++g) least -= std::fabs(row[g]);
            std::fill(a.begin(), a.end(), 0.0);
            for (std::size_t g = 0; g < space.wide.size(); ++g) {
                const int i = space.wide[g];
                a[i] = 2.0 * row[1 + g] / (high[i] - low[i]);
            }
        }
        line.constant = least;
        for (const int i : heavy_) line.constant -= std::min(a[i] * low[i], a[i] * high[i]);
    }
}

// Cuts every input from which the line allows to cut much; the share of the volume that is left.
double Clipper::cut(const Line& line, int round, double* low, double* high, std::vector<Clip>& clips) const {
    const std::vector<double>& a = line.coefficients;
    double least = line.constant;
    for (const int i : heavy_) least += std::min(a[i] * low[i], a[i] * high[i]);
    const double slack = kAboveRounding - std::min(least, 0.0);
    double left = 1.0;
    for (const int i : heavy_) {
        const double interval = high[i] - low[i];
        if (interval <= kHeavy * (high_[i] - low_[i])) continue;
        const double kept = slack / std::fabs(a[i]) + kHair * interval;
        if (!(kept <= (1.0 - options_.least_share) * interval)) continue;
        const bool first = a[i] > 0.0;
        const double threshold = first ? low[i] + kept : high[i] - kept;
        if (!(low[i] < threshold && threshold < high[i])) continue;
        (first ? high[i] : low[i]) = threshold;
        clips.push_back({round, i, line.margin, first, line.adaptive, threshold});
        left *= kept / interval;
    }
    return left;
}

bool Clipper::clip(int round, const double* weight, double* low, double* high, const ZonotopeSpace& space, std::vector<Clip>& clips) {
    if (round >= options_.rounds) return false;
    const std::size_t inputs = low_.size(), before = clips.size();
    const double heavy = kHeavy * *std::max_element(weight, weight + inputs);
    heavy_.clear();
    for (std::size_t i = 0; i < inputs; ++i)
        if (weight[i] > heavy) heavy_.push_back(static_cast<int>(i));
    read_lines(low, high, space);
    std::copy_n(low, inputs, low_.begin());
    std::copy_n(high, inputs, high_.begin());
    double left = 1.0;
    for (int pass = 0; pass < kPasses; ++pass) {
        const std::size_t known = clips.size();
        for (const Line& line : lines_) left *= cut(line, round, low, high, clips);
        if (clips.size() == known) break;
    }
    if (left <= 1.0 - options_.least_cut) return true;
    clips.resize(before);
    std::copy(low_.begin(), low_.end(), low);
    std::copy(high_.begin(), high_.end(), high);
    return false;
}

}  // namespace pydual
