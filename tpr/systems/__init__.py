"""tpr.systems"""
