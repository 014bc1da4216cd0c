from pathlib import PurePosixPath

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from miniwebui import checkpoint_layout
from miniwebui.checkpoint_layout import UNET, VAE, CheckpointError, Components, load_checkpoint
from painted_world import checkpoint_file
from painted_world.autoencoder import make_vae
from painted_world.checkpoint_file import save_checkpoint
from painted_world.denoiser import make_text_encoder, make_unet


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    parts = Components(make_unet(), make_vae(), make_text_encoder())
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.safetensors"
    save_checkpoint(path, parts, {"modelspec.title": "tiny"}, torch.float32)
    return path, parts


def test_what_is_saved_loads_to_the_bit(saved):
    path, parts = saved
    loaded = load_checkpoint(path)
    assert loaded.metadata["modelspec.title"] == "tiny"
    for name in ("unet", "vae", "text_encoder"):
        before, after = getattr(parts, name).state_dict(), getattr(loaded, name).state_dict()
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert loaded.text_encoder.config.num_attention_heads == 4


def test_keys_of_the_true_sd_1_5():
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        tensors = {ldm: unet.state_dict()[key] for key, ldm in checkpoint_file.unet_keys(unet, UNET).items()}
        read = checkpoint_layout._unet_from(tensors, {})
    sizes = [{k: v for k, v in one.config.items() if k != "_use_default_values"} for one in (read, unet)]
    assert sizes[0] == sizes[1]
    with torch.device("meta"):
        vae = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
    keys = set(checkpoint_file.unet_keys(unet, UNET).values())
    assert len(keys) == 686
    for key in (
        "time_embed.0.weight",
        "input_blocks.3.0.op.weight",
        "input_blocks.4.0.skip_connection.weight",
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight",
        "output_blocks.2.1.conv.weight",
        "output_blocks.5.2.conv.weight",
        "output_blocks.11.1.proj_out.bias",
        "out.2.bias",
    ):
        assert UNET + key in keys
    keys = set(checkpoint_file._vae_keys(vae).values())
    assert len(keys) == 248
    for key in (
        "encoder.down.2.downsample.conv.weight",
        "decoder.up.3.block.2.conv2.weight",
        "decoder.up.1.block.0.nin_shortcut.weight",
        "decoder.up.1.upsample.conv.bias",
        "decoder.mid.attn_1.proj_out.weight",
        "encoder.norm_out.weight",
        "post_quant_conv.weight",
    ):
        assert VAE + key in keys


def test_a_file_that_is_no_checkpoint_gets_one_sentence(tmp_path, saved):
    whole = saved[0].read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.ckpt")
    for name in ("missing.safetensors", "cut.safetensors", "text.ckpt", "other.ckpt"):
        with pytest.raises(CheckpointError, match=name):
            load_checkpoint(tmp_path / name)


def test_a_file_with_other_objects_gets_the_advice_to_convert_it(tmp_path):
    torch.save({"state_dict": {"a": torch.zeros(1)}, "callback": PurePosixPath("x")}, tmp_path / "old.ckpt")
    with pytest.raises(CheckpointError, match=r"old.ckpt .* convert it to .safetensors.$"):
        load_checkpoint(tmp_path / "old.ckpt")
