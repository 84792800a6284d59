"""A custom node that gives one of the pack's nodes an old name: the example of CONTRIBUTING.md."""

from comfy_api.latest import ComfyAPI, ComfyExtension, io


class Renames(ComfyExtension):
    async def on_load(self):
        await ComfyAPI().node_replacement.register(
            io.NodeReplace(
                old_node_id="PPAP_ClassTarget",
                new_node_id="PPAP_TargetClass",
                old_widget_ids=["names"],  # what the old node's widgets were called, in their order
                input_mapping=[
                    {"new_id": "guider", "old_id": "guider"},
                    {"new_id": "classes", "old_id": "names"},
                    {"new_id": "temperature", "set_value": 1.0},
                    {"new_id": "line_per_picture", "set_value": False},
                ],
                output_mapping=[{"new_idx": 0, "old_idx": 0}],
            )
        )

    async def get_node_list(self):
        return []


async def comfy_entrypoint() -> ComfyExtension:
    return Renames()
