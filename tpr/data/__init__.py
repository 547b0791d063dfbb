"""tpr.data"""
