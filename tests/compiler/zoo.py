"""Nets of every kind in GluonCV's model zoo, with random weights."""

from __future__ import annotations

from runtime import gluoncv, mx

import numpy as np
from mxnet.gluon.block import _flatten

import compiler

# By the shape of an input without its batch: one net of each kind.
_KINDS = {
    (3, 32, 32): "cifar_resnet20_v1 cifar_resnet20_v2 cifar_wideresnet16_10 "
    "cifar_resnext29_16x64d cifar_residualattentionnet56",
    (3, 64, 64): "resnet18_v1 resnet18_v2 resnet18_v1b resnet50_v1c resnet50_v1d "
    "resnet50_v1s resnest14 resnext50_32x4d se_resnet18_v1 se_resnet18_v2 se_resnext50_32x4d "
    "mobilenet0.25 mobilenetv2_0.25 mobilenetv3_small shufflenet_v1 shufflenet_v2 "
    "dla34 darknet53 hrnet_w18_small_v1_c",
    (3, 224, 224): "alexnet squeezenet1.1 vgg11_bn densenet121 googlenet residualattentionnet56",
    (3, 331, 331): "inceptionv3 xception nasnet_4_1056",
    (3, 128, 128): "ssd_300_mobilenet0.25_voc yolo3_mobilenet0.25_voc center_net_resnet18_v1b_voc "
    "center_net_dla34_voc center_net_resnet18_v1b_dcnv2_voc faster_rcnn_resnet50_v1b_voc "
    "faster_rcnn_fpn_resnet50_v1b_coco doublehead_rcnn_resnet50_v1b_voc",
    (3, 480, 480): "fcn_resnet50_voc psp_resnet50_ade deeplab_resnet50_ade deeplab_resnest50_ade "
    "danet_resnet50_citys icnet_resnet50_citys hrnet_w18_small_v1_s",
    (3, 256, 192): "simple_pose_resnet18_v1b mobile_pose_mobilenet1.0 mobile_pose_resnet18_v1b "
    "alpha_pose_resnet101_v1b_coco",
    (3, 16, 112, 112): "c3d_kinetics400 r2plus1d_resnet18_kinetics400",
    (3, 32, 224, 224): "i3d_inceptionv1_kinetics400 p3d_resnet50_kinetics400",
}
NETS = {name: shape for shape, names in _KINDS.items() for name in names.split()}


def outputs(form, name):
    """Return what a net with weights from a seed gives."""
    mx.random.seed(0)
    np.random.seed(0)  # noqa: NPY002  which some initializers draw from
    try:
        net = gluoncv.model_zoo.get_model(name, pretrained_base=False)  # which others fetch
    except Exception:
        net = gluoncv.model_zoo.get_model(name)
    net.initialize()
    form(net)
    x = mx.nd.random.normal(shape=(1, *NETS[name]))
    return [array.asnumpy() for array in _flatten(net(x), "output")[0]]


def difference(name):
    """Return the largest difference from the plain form: a share of an output's largest number."""
    plain = outputs(lambda net: net.hybridize(), name)
    compiled = outputs(compiler.hybridize, name)
    return max(float(np.abs(a - b).max() / (np.abs(a).max() or 1)) for a, b in zip(plain, compiled))
