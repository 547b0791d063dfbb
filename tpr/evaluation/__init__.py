"""tpr.evaluation"""
