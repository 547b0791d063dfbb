"""tpr.engine"""
