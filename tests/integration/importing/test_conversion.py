"""A GGUF file becomes a folder of safetensors that answers as its model does."""

import json

from core.files import _umask


def test_smollm2_answers_after_its_conversion(smollm2):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert "quantization_config" not in json.loads((smollm2 / "config.json").read_text())
    assert (smollm2 / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~_umask()
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    model = AutoModelForCausalLM.from_pretrained(smollm2)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        answer = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    text = tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)
    assert text.startswith("The capital of France is Paris")


def test_minilm_is_a_bert_encoder(minilm):
    assert json.loads((minilm / "config.json").read_text())["model_type"] == "bert"
    assert (minilm / "model.safetensors").is_file()
