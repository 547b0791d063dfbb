"""tpr.objectives"""
