"""tpr.report"""
