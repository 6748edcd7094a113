"""From embeddings to a classifier in a model folder. The import registers the model with transformers."""

from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from .models.audio_classifier import SynthmirFeatureExtractor, SynthmirForAudioClassification, register_pipeline
from .models.classifier import SynthmirClassifier, SynthmirConfig, load_model

__all__ = [
    "SynthmirClassifier",
    "SynthmirConfig",
    "SynthmirFeatureExtractor",
    "SynthmirForAudioClassification",
    "load_model",
]

AutoFeatureExtractor.register(SynthmirConfig, SynthmirFeatureExtractor)
AutoModelForAudioClassification.register(SynthmirConfig, SynthmirForAudioClassification)
register_pipeline()
