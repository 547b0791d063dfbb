"""tpr.config"""
