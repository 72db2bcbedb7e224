"""Released weights: files of the Hugging Face hub, through its local cache."""

from typing import TYPE_CHECKING

from pathray.encoders.spec import EncoderSpec, HubWeights
from pathray.errors import RequestError, one_line

if TYPE_CHECKING:
    import torch

_REACH_SECONDS = 10


def download(repository: str, files: tuple[str, ...]) -> str:
    """Path of the first of `files` that the repository has, from the cache or fetched.

    What is in the cache is taken as it is, without asking the hub: workers of one job must
    not see different revisions. Raises what huggingface_hub raises.
    """
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    for file in files:
        cached = huggingface_hub.try_to_load_from_cache(repository, file)
        if isinstance(cached, str):
            return cached
    _reach_hub()
    for file in files[:-1]:
        try:
            return huggingface_hub.hf_hub_download(repository, file)
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            continue
    return huggingface_hub.hf_hub_download(repository, files[-1])


def _reach_hub() -> None:
    """Fail at once where there is no network; the hub's client would retry for a minute."""
    from huggingface_hub import constants, get_session

    if not constants.HF_HUB_OFFLINE:
        get_session().head(constants.ENDPOINT, timeout=_REACH_SECONDS)


def timm_release(spec: EncoderSpec, model_name: str) -> "dict[str, torch.Tensor]":
    """The weights timm releases under a model name, as its own loader arranges them.

    timm fills what a checkpoint lacks with random numbers when the class count differs; the
    network is therefore built with the classes it was released with, where timm is strict.
    """
    import timm

    config = timm.get_pretrained_cfg(model_name)
    if config is None or not config.has_weights:
        raise RequestError(
            f"timm releases no weights for {model_name!r}; "
            f"give them with --weights URI, or random ones with --random-init"
        )
    overlay: dict[str, object] = {}
    if config.hf_hub_id and config.custom_load != "hf":
        files = (config.hf_hub_filename,) if config.hf_hub_filename else HubWeights.files
        # Fetched here, so that a missing network is one quick error; on the hub, unlike at
        # the old addresses, the files need none of timm's custom loaders but the "hf" one.
        overlay = {"file": download(config.hf_hub_id, files), "custom_load": False}
    kwargs = {**getattr(spec.builder, "kwargs", {}), "num_classes": config.num_classes}
    network = timm.create_model(
        model_name, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs
    )
    network.reset_classifier(0)
    tensors: dict[str, torch.Tensor] = network.state_dict()
    return tensors


def unavailable(spec: EncoderSpec, error: BaseException) -> RequestError:
    """The three lines a person needs when released weights cannot be had."""
    cure = "check the network" if not spec.gated else "accept it there and set HF_TOKEN"
    page = ""
    if isinstance(spec.weights, HubWeights):
        page = f", https://huggingface.co/{spec.weights.repository}"
    return RequestError(
        f"cannot get the weights of encoder {spec.name!r}: {one_line(error, 120)}\n"
        f"licence: {spec.licence or 'unknown'}{page}; {cure}\n"
        f"or bring the file with --weights URI, or take random weights with --random-init"
    )


def not_on_a_hub(spec: EncoderSpec) -> RequestError:
    """What to do for weights that their authors release elsewhere."""
    return RequestError(
        f"the weights of encoder {spec.name!r} are on no hub that can be asked\n"
        f"licence: {spec.licence or 'unknown'}; get them from {spec.source or 'their authors'}\n"
        f"and give them with --weights URI, or take random weights with --random-init"
    )
