"""Embeddings -> classifier -> model folder. Importing it makes transformers know the model."""

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
