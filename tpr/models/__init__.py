"""tpr.models"""
