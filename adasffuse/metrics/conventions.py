"""The metrics, and how each convention defines them: tables of functions and their parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import cleandoc, signature

from numpy import ndarray

from adasffuse.metrics import features, gradients, information, intensity, perception, phase, structure, vif
from adasffuse.metrics.brightness import spurious_brightness
from adasffuse.metrics.color import chroma_difference
from adasffuse.metrics.identity import identity_error
from adasffuse.metrics.targets import target_retention
from adasffuse.metrics.windows import gaussian, uniform

# Possible inputs of a metric: images, and the boxes of the scene with the names of the target classes.
INPUTS = ("a", "b", "fused", "reference", "color_a", "color_b", "color_fused", "boxes", "classes")
DEFAULT_METRICS = ("EN", "SD", "SF", "MI", "SCD", "VIFF", "Qabf", "SSIM")


@dataclass(frozen=True)
class Metric:
    """A metric, whatever the convention."""

    title: str
    better: str = "higher"  # or "lower"
    ranked: bool = True  # False: printed after the mean rank and never part of it


@dataclass(frozen=True)
class Definition:
    """How one convention computes one metric: a function of images, and its parameters."""

    function: Callable[..., float]
    parameters: Mapping[str, object] = field(default_factory=dict)  # its further arguments
    note: str = ""  # remark for readers of the score

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the images, boxes and classes that the function takes."""
        return tuple(name for name in signature(self.function).parameters if name in INPUTS)

    def score(self, images: Mapping[str, object]) -> float:
        """The score of float64 images on 0..255, given by name.

        Args:
            images: at least those in `inputs`, (H, W) or (H, W, 3); boxes and classes as `target_retention` takes them.
        Returns:
            The score; NaN where it is undefined.
        """
        return float(self.function(**{name: images[name] for name in self.inputs}, **self.parameters))


@dataclass(frozen=True)
class Convention:
    """A named set of definitions."""

    source: str
    metrics: Mapping[str, Definition]


def define(function: Callable[..., float], note: str = "", **parameters: object) -> Definition:
    """An entry of a convention's table.

    Args:
        function: takes images by name, see `INPUTS`.
        note: remark for readers of the score.
        parameters: further arguments of the function.
    """
    return Definition(function, parameters, note)


METRICS: dict[str, Metric] = {
    "EN": Metric("entropy, bits"),
    "SD": Metric("standard deviation"),
    "SF": Metric("spatial frequency"),
    "AG": Metric("average gradient"),
    "EI": Metric("edge intensity"),
    "MI": Metric("mutual information"),
    "NMI": Metric("normalised mutual information"),
    "CE": Metric("cross entropy", "lower"),
    "Qncie": Metric("nonlinear correlation information entropy"),
    "TE": Metric("Tsallis mutual information"),
    "FMI_pixel": Metric("feature mutual information, pixels"),
    "FMI_gradient": Metric("feature mutual information, gradients"),
    "FMI_edge": Metric("feature mutual information, edge maps"),
    "FMI_dct": Metric("feature mutual information, cosine transform"),
    "FMI_wavelet": Metric("feature mutual information, wavelet"),
    "MSE": Metric("mean squared error", "lower"),
    "RMSE": Metric("'root' mean squared error of VIFB", "lower"),
    "PSNR": Metric("peak signal-to-noise ratio"),
    "CC": Metric("correlation coefficient"),
    "SCD": Metric("sum of the correlations of differences"),
    "VIFF": Metric("visual information fidelity"),
    "Qabf": Metric("edge preservation, Xydeas-Petrovic"),
    "Nabf": Metric("fusion artifacts, Shreyamsha Kumar", "lower"),
    "SSIM": Metric("structural similarity"),
    "MS_SSIM": Metric("multi-scale structural similarity"),
    "MEF_SSIM": Metric("multi-exposure structural similarity"),
    "Q": Metric("fusion quality, Piella"),
    "Qw": Metric("weighted fusion quality, Piella"),
    "Qe": Metric("edge-dependent fusion quality, Piella"),
    "Qy": Metric("similarity, Yang"),
    "Qc": Metric("similarity, Cvejic"),
    "Qcv": Metric("perceptual error, Chen-Varshney", "lower"),
    "Qcb": Metric("perceptual contrast, Chen-Blum"),
    "QP": Metric("phase congruency, Zhao"),
    "CIEDE2000": Metric("chroma difference to the coloured source", "lower"),
    "PSNR_GT": Metric("PSNR against a reference"),
    "SSIM_GT": Metric("SSIM against a reference"),
    "Spurious": Metric("spurious brightness, gray levels", "lower", ranked=False),
    "Retention": Metric("target retention, up to 1", ranked=False),
}
IDENTITY = "Identity"  # scores a fuser, not an image, see `identity_error`; `explain` knows it
AGAINST_TRUTH = ("PSNR_GT", "SSIM_GT")

_TWELVE = {
    "EN": define(information.entropy),
    "SD": define(intensity.standard_deviation),
    "SF": define(gradients.spatial_frequency),
    "AG": define(gradients.average_gradient),
    "MI": define(information.mutual_information, "nats, sum of both sources"),
    "MSE": define(intensity.mean_squared_error, "0..255 scale"),
    "PSNR": define(intensity.peak_signal_to_noise, "the peak is the maximum of F, not 255"),
    "CC": define(intensity.correlation),
    "SCD": define(intensity.sum_of_correlations_of_differences),
    "VIFF": define(
        vif.visual_information_fidelity,
        "sum of two VIFs, not Han's index; a flat source is NaN here, where the authors' evaluator counts it as 1",
    ),
    "Qabf": define(gradients.edge_preservation, "equal strengths count as the strength itself"),
    "SSIM": define(
        structure.structural_similarity,
        "sum of both sources; 7x7 uniform window, sample covariance",
        taps=uniform(7),
        sample_covariance=True,
    ),
}
_FURTHER = {  # metrics with one definition in use, or with one of this project
    "EI": define(gradients.edge_intensity),
    "NMI": define(information.normalized_mutual_information),
    "CE": define(information.cross_entropy),
    "Qncie": define(information.nonlinear_correlation_entropy),
    "TE": define(information.tsallis_information),
    "FMI_pixel": define(features.feature_mutual_information),
    "FMI_gradient": define(features.feature_mutual_information, feature="gradient"),
    "FMI_edge": define(features.feature_mutual_information, feature="edge"),
    "FMI_dct": define(features.feature_mutual_information, feature="dct"),
    "FMI_wavelet": define(features.feature_mutual_information, feature="wavelet"),
    "Nabf": define(gradients.fusion_artifacts),
    "MS_SSIM": define(structure.multi_scale_ssim, "mean of both sources"),
    "MEF_SSIM": define(structure.mef_ssim),
    "Q": define(structure.piella_quality),
    "Qw": define(structure.piella_quality, weighted=True),
    "Qe": define(structure.piella_edge_quality),
    "Qy": define(structure.yang_quality),
    "Qc": define(structure.cvejic_quality),
    "Qcv": define(perception.chen_varshney_quality),
    "Qcb": define(perception.chen_blum_quality),
    "QP": define(phase.phase_congruency_quality),
    "CIEDE2000": define(chroma_difference),
    "PSNR_GT": define(intensity.peak_signal_to_noise_of_reference),
    "SSIM_GT": define(structure.ssim_of_reference),
    "Spurious": define(spurious_brightness),
    "Retention": define(target_retention, "targets are people unless --classes says otherwise"),
}
_AGREED = ("Qcb", "Qcv", "Qabf", "EN", "EI")  # VIFB and MEFB compute these as above
_BENCHMARK = {
    **{name: {**_TWELVE, **_FURTHER}[name] for name in _AGREED},
    "AG": define(gradients.average_gradient, "sum divided by (H - 1)(W - 1)", all_pixels=False),
    "SF": define(gradients.spatial_frequency, "sums divided by H W", all_pixels=True),
    "PSNR": define(intensity.peak_signal_to_root_error, "from RMSE as defined there: some 40 dB above the usual"),
    "SD": define(intensity.standard_deviation, "called variance in VIFB"),
    "CE": define(information.cross_entropy, "a divergence that may be negative"),
}

CONVENTIONS: dict[str, Convention] = {
    "adasffuse": Convention(
        "AdaSFFuse's evaluator for EN, SD, SF, AG, MI, MSE, PSNR, CC, SCD, VIFF, Qabf, SSIM; other metrics are added",
        {**_TWELVE, **_FURTHER},
    ),
    "vifb": Convention(
        "benchmark VIFB (xingchenzhang/VIFB)",
        {
            **_BENCHMARK,
            "RMSE": define(intensity.root_mean_squared_error, "sqrt(sum of squares) / (H W)"),
            "MI": define(information.mutual_information, "nats, sum of both sources"),
            "SSIM": define(structure.structural_similarity, "sum of both sources", taps=gaussian(11, 1.5)),
        },
    ),
    "mefb": Convention(
        "benchmark MEFB (xingchenzhang/MEFB)",
        {
            **_BENCHMARK,
            **{name: _FURTHER[name] for name in ("NMI", "Qncie", "FMI_edge", "MEF_SSIM", "Q", "Qc", "Qy", "QP")},
            "Qcb": define(perception.chen_blum_quality, "divided by 255 before stretching", divided_first=True),
            "TE": define(
                information.tsallis_information,
                "margins transposed, a slip in the code that makes it depend on brightness",
                stretched=True,
                transposed_margins=True,
            ),
            "Qw": define(
                structure.piella_quality, "of the gradient images alone, not of the images", weighted=True, edges=True
            ),
            "VIFF": define(vif.han_information_fidelity, "Han's fusion VIF, not a sum of two"),
        },
    ),
    "tang": Convention(
        "General Evaluation Metric of Linfeng-Tang/Image-Fusion",
        {
            **{name: _TWELVE[name] for name in ("EN", "SD", "SF", "CC", "SCD", "VIFF", "Qabf")},
            "AG": define(gradients.average_gradient, "sum divided by (H - 1)(W - 1)", all_pixels=False),
            "MI": define(
                information.mutual_information,
                "bits, sum of both; gray 254 and 255 share a bin of the joint histogram",
                base=2,
                saturated_bin=True,
            ),
            "MSE": define(intensity.mean_squared_error, "of images on 0..1", full_scale=255.0),
            "PSNR": define(
                intensity.peak_signal_to_noise, "peak 255 over an MSE on 0..1: 48.13 dB too high", peak=255.0 * 255.0
            ),
            "SSIM": define(
                structure.structural_similarity,
                "mean of both; constants for range 1 on images of range 255",
                taps=gaussian(11, 1.5),
                dynamic_range=1.0,
                pad=True,
                mean=True,
            ),
            "MS_SSIM": define(structure.mef_ssim, "called MS_SSIM there, is MEF_SSIM with 3 scales"),
            "Nabf": define(gradients.fusion_artifacts, "fused image first, as the function documents"),
            "FMI_pixel": define(
                features.feature_mutual_information, "called pixel there, is of edge maps", feature="edge"
            ),
            "FMI_dct": _FURTHER["FMI_dct"],
            "FMI_wavelet": _FURTHER["FMI_wavelet"],
        },
    ),
    "clean": Convention(
        "the original papers, without known faults; metrics without an agreed definition for two sources are left out",
        {
            **{name: _TWELVE[name] for name in ("EN", "SD", "SCD")},
            **{
                name: _FURTHER[name]
                for name in ("NMI", "Qncie", "TE", "FMI_gradient", "Nabf", "MS_SSIM", "MEF_SSIM", "Qy")
            },
            **{name: _FURTHER[name] for name in ("CIEDE2000", "PSNR_GT", "SSIM_GT")},
            "SF": define(
                gradients.spatial_frequency, "sums divided by H W, as others quote the paper", all_pixels=True
            ),
            "MI": define(information.mutual_information, "bits, sum of both sources", base=2),
            "VIFF": define(vif.han_information_fidelity, "Han's fusion VIF, the paper of that name"),
            "Qabf": define(gradients.edge_preservation, "equal strengths count as 1", equal_as_published=False),
            "SSIM": define(structure.structural_similarity, "mean of both sources", taps=gaussian(11, 1.5), mean=True),
        },
    ),
}


def definitions(metrics: Sequence[str], convention: str) -> dict[str, Definition]:
    """The convention's definitions of the named metrics, in that order.

    Args:
        metrics: names out of `METRICS`.
        convention: name out of `CONVENTIONS`.
    Returns:
        Name to definition.
    Raises:
        ValueError: unknown convention or metric, or the convention does not define it.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"unknown convention {convention!r}; there are {', '.join(CONVENTIONS)}")
    table = CONVENTIONS[convention].metrics
    for name in metrics:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}{_suggestion(name)}")
        if name not in table:
            where = ", ".join(other for other in CONVENTIONS if name in CONVENTIONS[other].metrics)
            raise ValueError(f"convention {convention!r} does not define {name}; these do: {where}")
    return {name: table[name] for name in metrics}


def scores_beside(task: str, convention: str = "adasffuse", reference: bool = False, boxes: bool = False) -> list[str]:
    """Metrics that are printed beside the default ones and do not count in the mean rank.

    Args:
        task: id of the task, or "" if unknown; 'mef' adds MEF_SSIM.
        convention: name out of `CONVENTIONS`; metrics that it does not define are left out, except Retention.
        reference, boxes: whether true images and boxes were given.
    Returns:
        Names out of `METRICS`.
    """
    names = ["Spurious"]
    if task == "mef":
        names.append("MEF_SSIM")
    if reference:
        names += AGAINST_TRUTH
    names = [name for name in names if name in CONVENTIONS[convention].metrics]
    return [*names, "Retention"] if boxes else names


def find_metric(name: str) -> str:
    """The metric of a name, ignoring case and surrounding spaces.

    Args:
        name: as a user writes it.
    Returns:
        A key of `METRICS`, `IDENTITY`, or `name` itself if unknown.
    """
    for metric in (*METRICS, IDENTITY):
        if metric.lower() == name.strip().lower():
            return metric
    return name


def explain(metric: str) -> str:
    """Definition and source of a metric, and its parameters in each convention.

    Args:
        metric: name out of `METRICS`, or `IDENTITY`.
    Returns:
        Several lines of text.
    Raises:
        ValueError: unknown metric.
    """
    if metric == IDENTITY:
        where = "Scores a fuser and is in no convention; printed by the fusion scripts and scripts/score_weights.py."
        return f"{IDENTITY}: identity error; lower is better\n\n{cleandoc(identity_error.__doc__ or '')}\n\n{where}"
    if metric not in METRICS:
        raise ValueError(f"unknown metric {metric!r}{_suggestion(metric)}")
    tables = {name: c.metrics[metric] for name, c in CONVENTIONS.items() if metric in c.metrics}
    lines = [f"{metric}: {METRICS[metric].title}; {METRICS[metric].better} is better", ""]
    for function in dict.fromkeys(definition.function for definition in tables.values()):
        lines += [cleandoc(function.__doc__ or ""), ""]
    lines.append("Conventions:")
    for name in CONVENTIONS:
        if name in tables:
            definition = tables[name]
            parameters = ", ".join(f"{key}={_plain(value)}" for key, value in definition.parameters.items())
            note = f"  ({definition.note})" if definition.note else ""
            lines.append(f"  {name}: {definition.function.__name__}({parameters}){note}")
        else:
            lines.append(f"  {name}: not defined")
    lines += ["", "Sources:", *(f"  {name}: {convention.source}" for name, convention in CONVENTIONS.items())]
    return "\n".join(lines)


def _plain(value: object) -> str:
    if isinstance(value, ndarray):
        return f"{len(value)} {'equal' if value.max() == value.min() else 'Gaussian'} taps"
    return repr(value)


def _suggestion(name: str) -> str:
    known = {metric.lower(): metric for metric in METRICS}
    near = get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {known[near[0]]!r}?" if near else f"; there are {', '.join(METRICS)}"
