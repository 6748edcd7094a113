"""From embeddings to a classifier, and from audio to a frame model. The import registers both with transformers."""

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification

from .frames.clip_model import FrameModelForAudioClassification
from .frames.loading import load_frame_model
from .frames.model import FrameModel
from .frames.network import FrameConfig
from .models.audio_classifier import SynthmirFeatureExtractor, SynthmirForAudioClassification, register_pipeline
from .models.classifier import SynthmirClassifier, SynthmirConfig, load_model

__all__ = [
    "FrameConfig",
    "FrameModel",
    "FrameModelForAudioClassification",
    "SynthmirClassifier",
    "SynthmirConfig",
    "SynthmirFeatureExtractor",
    "SynthmirForAudioClassification",
    "load_frame_model",
    "load_model",
]

AutoConfig.register(FrameConfig.model_type, FrameConfig)
AutoModel.register(FrameConfig, FrameModel)
AutoModelForAudioClassification.register(FrameConfig, FrameModelForAudioClassification)
AutoFeatureExtractor.register(FrameConfig, SynthmirFeatureExtractor)
AutoFeatureExtractor.register(SynthmirConfig, SynthmirFeatureExtractor)
AutoModelForAudioClassification.register(SynthmirConfig, SynthmirForAudioClassification)
register_pipeline()
