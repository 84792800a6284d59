"""The server starts with the pack in it."""

from host.client import request_json


def test_server_answers_with_its_nodes(server):
    assert "KSampler" in request_json(f"{server.url}/object_info")


def test_pack_was_imported(server):
    assert "IMPORT FAILED" not in server.log()


def test_demo_models_are_listed_under_their_folders(server):
    folders = {folder["name"] for folder in request_json(f"{server.url}/experiment/models")}
    assert {"ppap_guiders", "ppap_experts", "ppap_pixel_models", "ppap_score_heads"} <= folders


def test_other_languages_reach_the_front_end(server):
    translated = request_json(f"{server.url}/i18n")["zh"]["nodeDefs"]
    assert translated["PPAP_TargetClass"]["display_name"] == "目标类别"
