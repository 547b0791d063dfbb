"""tpr.data.adapters"""
