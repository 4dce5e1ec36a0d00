"""The biometric modalities, one file each."""
