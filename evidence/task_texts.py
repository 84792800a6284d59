"""What docs/evidence/tasks.md says above its tables."""

HEAD = """# Tasks

*Target Likeness* without a vision model: every picture is asked to be like a held-out scene. A cell
has the measure, FID and KID (times 1000); measures are the target's own, exact ones. *Time at 1*:
processor time of strength 1 beside no guidance. Low resolution is 8 x 8 places, the known region is
all but the middle 16 x 16 pixels, mean and contrast are those of the whole picture. Made by
`python -m evidence.tasks`.

![What is asked for, and pictures at strength 1](likeness.png)"""
MEANS_HEAD = """## The mean of references

*Target Likeness*, kind *reference mean*: all pictures are led to the mean of 20 held-out scenes
that share one thing. Judges decide, which guide nothing, whether the pictures have it too. FID and
KID compare with all renders: 50 real renders with a blue floor have 1.64 and -35.9. What is shared
has to be in the same places: cones, seen from all sides, make a poor mean."""
WORDS_HEAD = """## Words

*Target Words* with a tiny CLIP (`python -m demo.word_model`), which saw clean renders only: every
picture is asked to show the caption of a held-out scene, such as "a red cone on a blue floor". A
cell has the share in which colour, shape and floor are all as asked, FID and KID. Judges decide,
which guide nothing; of real renders they find 91.5 % right. They also rank the asked caption among
100 different ones, by how likely they find colour, shape and floor: it is first for 99 % of real
renders. The guider reads the estimate of the picture, and *jvp* or *none* is the Jacobian.

![Pictures asked to show captions, at strength 1](words.png)"""
MAPS_HEAD = """## Normals, poses and edges

Pictures are asked for the exact normals or key points of held-out scenes, measured by judges that
guide nothing (`python -m demo.normals_models`, `python -m demo.pose_models`); or for the edges that
the edge filter sees in their pictures, measured by the filter itself. Key points are the object's
middle, its foot, its top and both its ends; one is as asked within a tenth of the object's size.

![Pictures asked for what references show, at strength 1](maps.png)"""
SCORES_HEAD = """## A score

Pictures are asked to be brighter, by the demo's CLIP with a linear head that reads brightness from
its embedding (`python -m demo.score_head`; correlation with the truth on held-out renders: 0.80).
The measure is exact, the mean luma of the pictures, 0 to 10. FID and KID compare with all renders,
whose brightness is 3.9 on average: 100 real renders of 4.8 to 5.6 have 2.87 and 7.8. The experts
are those of the CLIP's embedding.

![Pictures asked to be brighter, at strength 1](scores.png)"""
STYLE_HEAD = """## Style

Every picture is asked for the style of a held-out scene, as the demo's CLIP sees it. Judges decide,
which guide nothing, whether the object and the floor have the reference's colours."""
BOXES_HEAD = """## Boxes

*Target Boxes* with a tiny RT-DETR (`python -m demo.box_models`), which saw clean renders only:
every picture is asked for the shape of a held-out scene in the box around it. Judges measure, which
guide nothing: the box around the object in their segments, whose IoU with that of real renders is
94.7 %, and the shape. Of clean renders the detector itself names 90 %, and its boxes have an IoU of
79 %.

![Boxes that are asked for, and pictures at strength 1](boxes.png)"""
